using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>The storage of optimizer state, common to all optimizers.</summary>
public enum StateStorage
{
    /// <summary>32 bits.</summary>
    F32,

    /// <summary>The upper 16 bits, rounded stochastically.</summary>
    BF16,

    /// <summary>
    /// 8-bit floats with a scale for 256 neighbours, rounded stochastically (<see cref="Float8"/>). As in 8-bit Adam, tensors of fewer
    /// than <see cref="StateTensor.MinNarrowed"/> elements stay in 32 bits.
    /// </summary>
    [FormerName("int8")]
    Fp8,
}

/// <summary>The range of a state tensor's values, which decides if it may be stored in fewer bits.</summary>
public enum StateRange
{
    /// <summary>Always stored in 32 bits: factored moments, projections, norms.</summary>
    Exact,

    /// <summary>A running mean of either sign.</summary>
    Signed,

    /// <summary>A running mean that is never negative.</summary>
    NonNegative,
}

/// <summary>One tensor of a parameter's optimizer state, declared once: saving, memory plans and documentation derive from it.</summary>
/// <param name="Name">The name of the reference implementation, such as <c>exp_avg</c>.</param>
/// <param name="Shape">The sizes.</param>
/// <param name="Type">How it is stored.</param>
/// <param name="Range">The range of its values.</param>
public sealed record StateTensor(string Name, IReadOnlyList<int> Shape, DType Type = DType.F32, StateRange Range = StateRange.Exact)
{
    /// <summary>The smallest number of elements that is stored in 8 bits.</summary>
    internal const int MinNarrowed = 4096;

    /// <summary>The number of elements.</summary>
    public long Length => Shape.Aggregate(1L, (product, size) => product * size);

    /// <summary>The stored bytes.</summary>
    public long Bytes => Type.Bytes(1, Length);

    /// <summary>A running mean of either sign.</summary>
    public static StateTensor Signed(string name, IReadOnlyList<int> shape) => new(name, shape, Range: StateRange.Signed);

    /// <summary>A running mean that is never negative.</summary>
    public static StateTensor NonNegative(string name, IReadOnlyList<int> shape) => new(name, shape, Range: StateRange.NonNegative);

    /// <summary>The tensor in a given storage.</summary>
    internal StateTensor StoredAs(StateStorage storage) => (storage, Range) switch
    {
        (StateStorage.F32, _) or (_, StateRange.Exact) => this,
        (StateStorage.BF16, _) => this with { Type = DType.BF16 },
        (StateStorage.Fp8, _) when Length < MinNarrowed => this,
        (StateStorage.Fp8, StateRange.Signed) => this with { Type = DType.Float8 },
        _ => this with { Type = DType.UnsignedFloat8 },
    };
}
