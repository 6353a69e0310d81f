using ILGPU;
using ILGPU.Runtime;
using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Compute;

public sealed partial class GpuDevice
{
    private Action<KernelConfig, ArrayView<float>, ArrayView<float>, GpuStridedCopy, SpecializedValue<int>>? stridedCopy;

    /// <inheritdoc/>
    protected internal override void CopyStridedCore(in Block source, in Block target, in StridedCopy copy)
    {
        pending.Launch();
        stridedCopy ??= Load<ArrayView<float>, ArrayView<float>, GpuStridedCopy, SpecializedValue<int>>(GpuStridedCopy.Run);
        stridedCopy(
            (Groups(Tiles(copy.Length, GpuStridedCopy.Threads)), GpuStridedCopy.Threads), GpuMemory.View<float>(source), GpuMemory.View<float>(target),
            new GpuStridedCopy(copy), new(Math.Max(1, copy.Count) | (copy.Accumulate ? GpuStridedCopy.Accumulates : 0)));
    }
}
