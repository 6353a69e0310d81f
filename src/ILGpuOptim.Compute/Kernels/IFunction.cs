namespace ILGpuOptim.Compute;

/// <summary>
/// A differentiable function of one variable, written over lanes: a struct whose unmanaged fields are the constants of one launch. It is differentiated
/// by running it on <see cref="Dual{L}"/>, so it may use the operations of <see cref="ILane{L}"/> only.
/// </summary>
/// <remarks>Mark <c>Apply</c> with <c>[MethodImpl(MethodImplOptions.AggressiveInlining)]</c>: a call for each vector can take longer than the function.</remarks>
public interface IFunction1
{
    /// <summary>The value at <paramref name="x"/>.</summary>
    L Apply<L>(L x) where L : struct, ILane<L>;
}

/// <summary>A differentiable function of two variables; see <see cref="IFunction1"/>. Its gradient comes from <see cref="Dual2{L}"/>.</summary>
public interface IFunction2
{
    /// <summary>The value at (<paramref name="x"/>, <paramref name="y"/>).</summary>
    L Apply<L>(L x, L y) where L : struct, ILane<L>;
}

/// <summary>A differentiable function of three variables; see <see cref="IFunction1"/>. Its gradient comes from <see cref="Dual3{L}"/>.</summary>
public interface IFunction3
{
    /// <summary>The value at (<paramref name="x"/>, <paramref name="y"/>, <paramref name="z"/>).</summary>
    L Apply<L>(L x, L y, L z) where L : struct, ILane<L>;
}
