using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>A strided copy as a kernel argument, innermost axis first.</summary>
internal struct GpuStridedCopy
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 256;

    /// <summary>Flag: adds elements to the target.</summary>
    public const int Accumulates = 8;

    private int size0, size1, size2, size3, size4;
    private long source0, source1, source2, source3, source4, source5;
    private long target0, target1, target2, target3, target4, target5;
    private long sourceStart, targetStart;
    private int count;

    public GpuStridedCopy(in StridedCopy copy)
    {
        this = default;
        StridedAxis none = new(1, 0, 0);
        int last = copy.Count - 1;
        StridedAxis a = last >= 0 ? copy[last] : none, b = last >= 1 ? copy[last - 1] : none, c = last >= 2 ? copy[last - 2] : none;
        StridedAxis d = last >= 3 ? copy[last - 3] : none, e = last >= 4 ? copy[last - 4] : none, f = last >= 5 ? copy[last - 5] : none;
        (size0, size1, size2, size3, size4) = ((int)a.Size, (int)b.Size, (int)c.Size, (int)d.Size, (int)e.Size);
        (source0, source1, source2, source3, source4, source5) = (a.SourceStride, b.SourceStride, c.SourceStride, d.SourceStride, e.SourceStride, f.SourceStride);
        (target0, target1, target2, target3, target4, target5) = (a.TargetStride, b.TargetStride, c.TargetStride, d.TargetStride, e.TargetStride, f.TargetStride);
        sourceStart = copy.SourceStart;
        targetStart = copy.TargetStart;
        count = (int)copy.Length;
    }

    /// <summary>One thread per element, in the order of the target. The form is the number of axes and <see cref="Accumulates"/>.</summary>
    public static void Run(ArrayView<float> source, ArrayView<float> target, GpuStridedCopy x, SpecializedValue<int> form)
    {
        long element = (long)Grid.IdxX * Threads + Group.IdxX;
        if (element >= x.count)
            return;
        int rest = (int)element, axes = form.Value & 7;
        long from = x.sourceStart, to = x.targetStart;
        if (axes > 1)
            rest = Step(rest, x.size0, x.source0, x.target0, ref from, ref to);
        if (axes > 2)
            rest = Step(rest, x.size1, x.source1, x.target1, ref from, ref to);
        if (axes > 3)
            rest = Step(rest, x.size2, x.source2, x.target2, ref from, ref to);
        if (axes > 4)
            rest = Step(rest, x.size3, x.source3, x.target3, ref from, ref to);
        if (axes > 5)
            rest = Step(rest, x.size4, x.source4, x.target4, ref from, ref to);
        from += rest * (axes > 5 ? x.source5 : axes > 4 ? x.source4 : axes > 3 ? x.source3 : axes > 2 ? x.source2 : axes > 1 ? x.source1 : x.source0);
        to += rest * (axes > 5 ? x.target5 : axes > 4 ? x.target4 : axes > 3 ? x.target3 : axes > 2 ? x.target2 : axes > 1 ? x.target1 : x.target0);
        target[to] = (form.Value & Accumulates) != 0 ? target[to] + source[from] : source[from];
    }

    /// <summary>Moves along one axis; returns the index over the outer axes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Step(int place, int size, long sourceStride, long targetStride, ref long from, ref long to)
    {
        int around = place / size, within = place - around * size;
        from += within * sourceStride;
        to += within * targetStride;
        return around;
    }
}
