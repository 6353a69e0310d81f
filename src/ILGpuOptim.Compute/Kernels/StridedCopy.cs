using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

/// <summary>One axis of <see cref="Device.CopyStrided"/>.</summary>
/// <param name="Size">How many places it has.</param>
/// <param name="SourceStride">Elements from one place to the next in the source: 0 repeats one element, a negative stride reverses the axis.</param>
/// <param name="TargetStride">Elements from one place to the next in the target, at least 1.</param>
public readonly record struct StridedAxis(long Size, long SourceStride, long TargetStride);

/// <summary>A checked strided copy of at most six axes, the one with the longest target stride first.</summary>
internal struct StridedCopy
{
    public const int MostAxes = 6;

    /// <summary>The first <see cref="Count"/> are in use. None is of size 0 or 1.</summary>
    public Six Axes;

    /// <summary>How many axes there are; 0 for one element.</summary>
    public int Count;

    /// <summary>Where the first element is, in elements from the beginning of the block.</summary>
    public long SourceStart, TargetStart;

    /// <summary>Whether elements are added to the target instead of replacing it.</summary>
    public bool Accumulate;

    /// <summary>The number of elements.</summary>
    public readonly long Length
    {
        get
        {
            long length = 1;
            for (int k = 0; k < Count; k++)
                length *= Axes[k].Size;
            return length;
        }
    }

    /// <summary>Sorts axes by target stride, longest first, and joins those that are one axis in both blocks. Sizes are at least 1.</summary>
    /// <returns>How many axes are left at the beginning of the span.</returns>
    public static int Join(Span<StridedAxis> axes)
    {
        axes.Sort(static (a, b) => b.TargetStride.CompareTo(a.TargetStride));
        int count = 0;
        foreach (StridedAxis axis in axes)
        {
            if (axis.Size == 1)
                continue;
            if (count > 0 && axes[count - 1] is var outer && outer.TargetStride == axis.TargetStride * axis.Size && outer.SourceStride == axis.SourceStride * axis.Size)
                axes[count - 1] = axis with { Size = outer.Size * axis.Size };
            else
                axes[count++] = axis;
        }

        return count;
    }

    [InlineArray(MostAxes)]
    internal struct Six
    {
        private StridedAxis first;
    }
}
