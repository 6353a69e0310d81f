namespace ILGpuOptim.Compute;

/// <summary>The declarations of a rule.</summary>
public interface IRule
{
    /// <summary>The access to each operand. A constant expression, so that kernels specialize on it.</summary>
    static abstract Access Access { get; }
}

/// <summary>
/// An element-wise rule over six operands; rules with fewer implement <see cref="IMap1"/> to <see cref="IMap5"/>
/// and are lifted. The struct's fields (unmanaged) are the constants of one launch.
/// </summary>
public interface IMap6 : IRule
{
    /// <summary>Computes one element, or a vector of elements, of every operand.</summary>
    void Apply<L>(ref L a, ref L b, ref L c, ref L d, ref L e, ref L f) where L : struct, ILane<L>;
}

/// <summary>An element-wise rule over five operands.</summary>
public interface IMap5 : IRule
{
    /// <inheritdoc cref="IMap6.Apply"/>
    void Apply<L>(ref L a, ref L b, ref L c, ref L d, ref L e) where L : struct, ILane<L>;
}

/// <summary>An element-wise rule over four operands.</summary>
public interface IMap4 : IRule
{
    /// <inheritdoc cref="IMap6.Apply"/>
    void Apply<L>(ref L a, ref L b, ref L c, ref L d) where L : struct, ILane<L>;
}

/// <summary>An element-wise rule over three operands.</summary>
public interface IMap3 : IRule
{
    /// <inheritdoc cref="IMap6.Apply"/>
    void Apply<L>(ref L a, ref L b, ref L c) where L : struct, ILane<L>;
}

/// <summary>An element-wise rule over two operands.</summary>
public interface IMap2 : IRule
{
    /// <inheritdoc cref="IMap6.Apply"/>
    void Apply<L>(ref L a, ref L b) where L : struct, ILane<L>;
}

/// <summary>An element-wise rule over one operand.</summary>
public interface IMap1 : IRule
{
    /// <inheritdoc cref="IMap6.Apply"/>
    void Apply<L>(ref L a) where L : struct, ILane<L>;
}
