using ILGpuOptim.Compute.Reference;

namespace ILGpuOptim.Compute;

public sealed partial class ReferenceDevice
{
    /// <inheritdoc/>
    protected internal override void CopyStridedCore(in Block source, in Block target, in StridedCopy copy)
    {
        ReferenceOperand values = At(source), result = At(target);
        long length = copy.Length;
        for (long i = 0; i < length; i++)
        {
            long from = copy.SourceStart, to = copy.TargetStart, rest = i;
            for (int k = copy.Count - 1; k >= 0; k--)
            {
                StridedAxis axis = copy[k];
                from += rest % axis.Size * axis.SourceStride;
                to += rest % axis.Size * axis.TargetStride;
                rest /= axis.Size;
            }

            result.Write(0, to, values.Read(0, from) + (copy.Accumulate ? result.Read(0, to) : 0));
        }
    }
}
