using ILGpuOptim.Compute;
using ILGpuOptim.Ops;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Layers;

/// <summary>The settings of LoRA adapters (Hu et al., "LoRA: low-rank adaptation of large language models", 2021).</summary>
public sealed record LoraOptions
{
    /// <summary>Rows of A and columns of B.</summary>
    [Range(1)]
    public int Rank { get; init; } = 8;

    /// <summary>B A is multiplied by alpha / rank, or alpha / √rank with <see cref="Rslora"/>.</summary>
    [Range(0, MinimumIsExclusive = true)]
    public double Alpha { get; init; } = 16;

    /// <summary>
    /// Rank-stabilized LoRA: B A is multiplied by alpha / √rank, so that gradients keep their size as the rank grows (Kalajdzievski, "A rank stabilization
    /// scaling factor for fine-tuning with LoRA", 2023).
    /// </summary>
    public bool Rslora { get; init; }

    /// <summary>
    /// Weight-decomposed LoRA: the adapters change the directions of the weight's output vectors, and their magnitudes are trained as a vector (Liu et al.,
    /// "DoRA: weight-decomposed low-rank adaptation", 2024).
    /// </summary>
    public bool Dora { get; init; }

    /// <summary>The projections to adapt: the ends of their names, or patterns of whole names with *; empty: the model's default.</summary>
    public IReadOnlyList<string> Targets { get; init; } = [];

    /// <summary>The factor of B A.</summary>
    internal float Scale => (float)(Rslora ? Alpha / Math.Sqrt(Rank) : Alpha / Rank);
}

/// <summary>
/// A low-rank adapter of a frozen weight W: V = W + scale · B A, with A random and B zero at the start. With <see cref="LoraOptions.Dora"/> the weight is
/// m V / ‖V‖, where ‖V‖ are the norms of the weight's output vectors and m starts as ‖W‖.
/// </summary>
public sealed class LoraAdapter : Layer
{
    private readonly Linear adapted;

    /// <summary>Makes the factors, and the magnitudes of the weight as it is now.</summary>
    /// <param name="initializer">Allocates and fills the parameters.</param>
    /// <param name="adapted">The layer to adapt.</param>
    /// <param name="options">Rank, alpha and form; the targets are not read.</param>
    /// <exception cref="ArgumentOutOfRangeException">The rank is less than 1, or alpha is infinite or NaN.</exception>
    public LoraAdapter(Initializer initializer, Linear adapted, LoraOptions options)
    {
        Scalars.AtLeast(nameof(LoraAdapter), 1, options.Rank);
        Scalars.Finite(nameof(LoraAdapter), (float)options.Alpha, adapted.Weight, nameof(options.Alpha));
        this.adapted = adapted;
        Options = options;
        A = Add(initializer, adapted.Name + ".lora_A.weight", 1 / MathF.Sqrt(3f * adapted.Inputs), 0, options.Rank, adapted.Inputs);
        B = Add(initializer, adapted.Name + ".lora_B.weight", 0, 0, adapted.Outputs, options.Rank);
        if (!options.Dora)
            return;
        Magnitude = Add(initializer, adapted.Name + ".lora_magnitude_vector", 0, 0, adapted.Outputs);
        using var tape = new Tape(initializer.Device) { IsRecording = false };
        tape.Device.Copy(tape.OutputNorms(Direction(tape), adapted.IsTransposed), Magnitude.Data);
    }

    /// <summary>The name of the adapted layer.</summary>
    public string Module => adapted.Name;

    /// <summary>Rank, alpha and form.</summary>
    public LoraOptions Options { get; }

    /// <summary>rank × inputs.</summary>
    public Parameter A { get; }

    /// <summary>outputs × rank.</summary>
    public Parameter B { get; }

    /// <summary>DoRA's magnitudes m, one for each output; null for LoRA.</summary>
    public Parameter? Magnitude { get; }

    /// <summary>The adapted weight.</summary>
    internal Tensor WeightFor(Tape tape) => Magnitude is null ? Direction(tape) : tape.ScaledDirections(Direction(tape), Magnitude, adapted.IsTransposed);

    /// <summary>Replaces the layer's weight by the adapted one and removes the adapter.</summary>
    internal void Merge()
    {
        Parameter weight = adapted.Weight;
        using var tape = new Tape(weight.Device) { IsRecording = false };
        tape.Device.Map(new CopyRule(), weight.Rows, weight.Columns, WeightFor(tape).Data, weight.Data);
        adapted.Adapter = null;
    }

    /// <summary>W + scale · B A.</summary>
    private Tensor Direction(Tape tape) => tape.LowRankSum(adapted.Weight, A, B, Options.Scale, adapted.IsTransposed);
}
