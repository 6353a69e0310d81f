using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>A function with a derivative written by hand, for the few where that is measurably faster than <see cref="Dual{L}"/>.</summary>
public interface IFunctionWithDerivative : IFunction1
{
    /// <summary>The value and the derivative at <paramref name="x"/>.</summary>
    void Differentiate<L>(L x, out L value, out L derivative) where L : struct, ILane<L>;
}

/// <summary>A function with the derivative that dual lanes compute.</summary>
internal readonly struct Differentiated<F>(F function) : IFunctionWithDerivative where F : unmanaged, IFunction1
{
    private readonly F function = function;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> => function.Apply(x);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Differentiate<L>(L x, out L value, out L derivative) where L : struct, ILane<L>
    {
        Dual<L> result = function.Apply(new Dual<L>(x, L.Splat(1)));
        value = result.Value;
        derivative = result.Derivative;
    }
}
