using ILGpuOptim.Ops;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Layers;

/// <summary>The settings of LoRA adapters (Hu et al., "LoRA: low-rank adaptation of large language models", 2021).</summary>
public sealed record LoraOptions
{
    /// <summary>Rows of A and columns of B.</summary>
    [Range(1)]
    public int Rank { get; init; } = 8;

    /// <summary>B A is multiplied by alpha / rank.</summary>
    [Range(0, MinimumIsExclusive = true)]
    public double Alpha { get; init; } = 16;

    /// <summary>The projections to adapt: the ends of their names, or patterns of whole names with *; empty: the model's default.</summary>
    public IReadOnlyList<string> Targets { get; init; } = [];
}

/// <summary>A low-rank adapter of a frozen weight W: W + alpha / rank · B A, with A random and B zero at the start.</summary>
public sealed class LoraAdapter : Layer
{
    private readonly Linear adapted;

    /// <summary>Makes the two factors.</summary>
    /// <param name="initializer">Allocates and fills the parameters.</param>
    /// <param name="adapted">The layer to adapt.</param>
    /// <param name="rank">Rows of A and columns of B, at least 1.</param>
    /// <param name="alpha">B A is multiplied by alpha / rank.</param>
    /// <exception cref="ArgumentOutOfRangeException">The rank is less than 1, or alpha is infinite or NaN.</exception>
    public LoraAdapter(Initializer initializer, Linear adapted, int rank, double alpha)
    {
        Scalars.AtLeast(nameof(LoraAdapter), 1, rank);
        Scalars.Finite(nameof(LoraAdapter), (float)alpha, adapted.Weight, nameof(alpha));
        this.adapted = adapted;
        (Rank, Alpha) = (rank, alpha);
        A = Add(initializer, adapted.Name + ".lora_A.weight", 1 / MathF.Sqrt(3f * adapted.Inputs), 0, rank, adapted.Inputs);
        B = Add(initializer, adapted.Name + ".lora_B.weight", 0, 0, adapted.Outputs, rank);
    }

    /// <summary>The name of the adapted layer.</summary>
    public string Module => adapted.Name;

    /// <summary>Rows of A.</summary>
    public int Rank { get; }

    /// <summary>B A is multiplied by alpha / rank.</summary>
    public double Alpha { get; }

    private float Scale => (float)(Alpha / Rank);

    /// <summary>rank × inputs.</summary>
    public Parameter A { get; }

    /// <summary>outputs × rank.</summary>
    public Parameter B { get; }

    /// <summary>The adapted weight.</summary>
    internal Tensor WeightFor(Tape tape) => tape.LowRankSum(adapted.Weight, A, B, Scale, adapted.IsTransposed);

    /// <summary>Adds the adapter to the layer's weight and removes it.</summary>
    internal void Merge()
    {
        adapted.Weight.Device.AddLowRank(adapted.Weight, A, B, Scale, adapted.IsTransposed);
        adapted.Adapter = null;
    }
}
