namespace ILGpuOptim.Compute;

// Copies between arrays of any rank.
public abstract partial class Device
{
    /// <summary>
    /// target[t + Σ iₖ · TargetStrideₖ] = source[s + Σ iₖ · SourceStrideₖ] for all indices i: permutations, slices, broadcasts, concatenations and
    /// sliding windows are such copies. Both blocks are F32.
    /// </summary>
    /// <param name="source">The block that is read.</param>
    /// <param name="sourceStart">s, the source element of index 0.</param>
    /// <param name="target">The block that is written; it must not overlap what is read.</param>
    /// <param name="targetStart">t, the target element of index 0.</param>
    /// <param name="axes">Any number of axes, in any order. No two indices may share a target element. Axes of size 0 copy nothing.</param>
    /// <param name="accumulate">Adds to the target instead of replacing it.</param>
    public void CopyStrided(in Block source, long sourceStart, in Block target, long targetStart, ReadOnlySpan<StridedAxis> axes, bool accumulate = false)
    {
        using Use use = Enter();
        Check(source, DType.F32);
        Check(target, DType.F32);
        Validate.Strided(source, sourceStart, target, targetStart, axes);
        foreach (StridedAxis axis in axes)
        {
            if (axis.Size == 0)
                return;
        }

        Span<StridedAxis> joined = axes.ToArray();
        CopyJoined(source, sourceStart, target, targetStart, joined[..StridedCopy.Join(joined)], accumulate);
    }

    /// <summary>Splits copies with more axes or elements than one launch supports.</summary>
    private void CopyJoined(in Block source, long sourceStart, in Block target, long targetStart, Span<StridedAxis> axes, bool accumulate)
    {
        if (axes.Length > StridedCopy.MaxAxes)
        {
            for (long i = 0; i < axes[0].Size; i++)
                CopyJoined(source, sourceStart + i * axes[0].SourceStride, target, targetStart + i * axes[0].TargetStride, axes[1..], accumulate);
            return;
        }

        var copy = new StridedCopy(axes) { SourceStart = sourceStart, TargetStart = targetStart, Accumulate = accumulate };
        if (copy.Length <= int.MaxValue)
        {
            CopyStridedCore(source, target, copy);
            return;
        }

        StridedAxis outer = axes[0];
        long half = outer.Size / 2;
        StridedAxis[] first = axes.ToArray(), second = axes.ToArray();
        first[0] = outer with { Size = half };
        second[0] = outer with { Size = outer.Size - half };
        CopyJoined(source, sourceStart, target, targetStart, first, accumulate);
        CopyJoined(source, sourceStart + half * outer.SourceStride, target, targetStart + half * outer.TargetStride, second, accumulate);
    }

    /// <summary>A copy of at most 2³¹ - 1 elements. See <see cref="CopyStrided"/>.</summary>
    protected internal abstract void CopyStridedCore(in Block source, in Block target, in StridedCopy copy);
}
