using ILGpuOptim.Compute;

namespace ILGpuOptim.Layers;

/// <summary>
/// How the weights of a model's products are stored: 4-bit integers in groups that share a scale, with a low-rank branch beside each weight but those of experts.
/// It is the field <c>quantization_config</c> of <c>config.json</c>; other programs cannot read it, so they refuse the model.
/// </summary>
public sealed record QuantizationConfig
{
    /// <summary>The sizes that a group can have.</summary>
    internal static IReadOnlyList<int> Groups { get; } = [32, 64, 128];

    /// <summary>Bits of a weight; 4.</summary>
    public int Bits { get; init; } = 4;

    /// <summary>The number of neighbours in a row of a stored weight that share a scale: 32, 64 or 128.</summary>
    public int GroupSize { get; init; } = 64;

    /// <summary>The rank of the branches, at most the short side of each weight; 0: none.</summary>
    public int BranchRank { get; init; } = 32;

    internal DType Type => GroupSize switch { 32 => DType.Int4By32, 64 => DType.Int4By64, _ => DType.Int4By128 };

    /// <summary>Checks the values.</summary>
    /// <param name="source">What precedes the names in messages.</param>
    /// <param name="bits">The name of <see cref="Bits"/> there.</param>
    /// <param name="group">The name of <see cref="GroupSize"/>.</param>
    /// <param name="rank">The name of <see cref="BranchRank"/>.</param>
    /// <exception cref="UserException">A value is not supported.</exception>
    internal void Check(string source, string bits = "bits", string group = "group_size", string rank = "branch_rank")
    {
        if (Bits != 4)
            throw new UserException($"{source}{bits} = {Bits}: weights are quantised to 4 bits only");
        if (!Groups.Contains(GroupSize))
            throw new UserException($"{source}{group} = {GroupSize}: groups have {string.Join(", ", Groups.SkipLast(1))} or {Groups[^1]} weights");
        if (BranchRank < 0)
            throw new UserException($"{source}{rank} = {BranchRank}: a rank is at least 0, which means no branch");
    }
}
