using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>
/// The direction u of an update p ← p - lr · u, element by element: a struct whose fields (unmanaged) are the constants of one step. It has neither the
/// learning rate nor weight decay, which belong to <see cref="ParameterUpdate.Move{D}(in D, in Decay)"/>. This one needs no state.
/// </summary>
/// <remarks>Mark <c>Of</c> with <c>[MethodImpl(MethodImplOptions.AggressiveInlining)]</c>: a call for each vector can take longer than the update.</remarks>
public interface IDirection0
{
    /// <summary>The direction for the gradient <paramref name="g"/>.</summary>
    L Of<L>(L g) where L : struct, ILane<L>;
}

/// <summary>A direction that updates one state tensor; see <see cref="IDirection0"/>.</summary>
public interface IDirection1
{
    /// <summary>Updates the state by the gradient <paramref name="g"/> and returns the direction.</summary>
    L Of<L>(L g, ref L a) where L : struct, ILane<L>;
}

/// <summary>A direction that updates two state tensors; see <see cref="IDirection0"/>.</summary>
public interface IDirection2
{
    /// <inheritdoc cref="IDirection1.Of"/>
    L Of<L>(L g, ref L a, ref L b) where L : struct, ILane<L>;
}

/// <summary>A direction that updates three state tensors; see <see cref="IDirection0"/>.</summary>
public interface IDirection3
{
    /// <inheritdoc cref="IDirection1.Of"/>
    L Of<L>(L g, ref L a, ref L b, ref L c) where L : struct, ILane<L>;
}
