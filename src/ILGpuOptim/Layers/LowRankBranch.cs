using ILGpuOptim.Compute;

namespace ILGpuOptim.Layers;

/// <summary>
/// A frozen low-rank matrix up · down in bf16 beside a weight of 4-bit integers: it has the largest singular values of the weight, so that what is left for 4
/// bits has a smaller range (Li et al., "SVDQuant: absorbing outliers by low-rank components for 4-bit diffusion models", 2024).
/// </summary>
public sealed class LowRankBranch : Layer
{
    internal LowRankBranch(Initializer initializer, string name, int inputs, int outputs, int rank)
    {
        Rank = Math.Min(rank, Math.Min(inputs, outputs));
        Down = AddStored(initializer, name + ".branch_down", DType.BF16, Rank, inputs);
        Up = AddStored(initializer, name + ".branch_up", DType.BF16, outputs, Rank);
    }

    /// <summary>Rows of <see cref="Down"/> and columns of <see cref="Up"/>: at most the short side of the weight.</summary>
    public int Rank { get; }

    /// <summary>rank × inputs.</summary>
    public Parameter Down { get; }

    /// <summary>outputs × rank.</summary>
    public Parameter Up { get; }
}
