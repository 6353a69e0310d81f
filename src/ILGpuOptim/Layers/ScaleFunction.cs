using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>factor · x.</summary>
internal readonly struct ScaleFunction(float factor) : IFunction1
{
    private readonly float factor = factor;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> => x * L.Splat(factor);
}
