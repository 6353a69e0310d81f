using ILGpuOptim.Compute.Cpu;

namespace ILGpuOptim.Compute;

public sealed unsafe partial class CpuDevice
{
    /// <inheritdoc/>
    protected internal override void CopyStridedCore(in Block source, in Block target, in StridedCopy copy)
    {
        float* from = (float*)At(source) + copy.SourceStart, to = (float*)At(target) + copy.TargetStart;
        int transposed = CpuTransposedCopy.AxisOf(copy);
        if (transposed >= 0)
        {
            var work = new CpuTransposedCopy(copy, transposed, from, to);
            workers.Run(work.Pieces, ref work);
        }
        else
        {
            var work = new CpuStridedCopy(copy, from, to);
            workers.Run(work.Pieces, ref work);
        }
    }
}
