using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

/// <summary>One axis of <see cref="Device.CopyStrided"/>.</summary>
/// <param name="Size">The number of elements along the axis.</param>
/// <param name="SourceStride">Elements from one index to the next in the source: 0 repeats one element, a negative stride reverses the axis.</param>
/// <param name="TargetStride">Elements from one index to the next in the target, at least 1.</param>
public readonly record struct StridedAxis(long Size, long SourceStride, long TargetStride);

/// <summary>A checked strided copy of at most six axes, the one with the longest target stride first. No axis has size 0 or 1.</summary>
public readonly struct StridedCopy
{
    /// <summary>The largest number of axes.</summary>
    public const int MaxAxes = 6;

    private readonly Six axes;

    internal StridedCopy(ReadOnlySpan<StridedAxis> axes)
    {
        Count = axes.Length;
        axes.CopyTo(this.axes);
    }

    /// <summary>The number of axes; 0 for a single element.</summary>
    public int Count { get; }

    /// <summary>The first source element, in elements from the start of the block.</summary>
    public long SourceStart { get; internal init; }

    /// <summary>The first target element, in elements from the start of the block.</summary>
    public long TargetStart { get; internal init; }

    /// <summary>Adds to the target instead of replacing it.</summary>
    public bool Accumulate { get; internal init; }

    /// <summary>One axis, outermost first.</summary>
    public StridedAxis this[int index] => axes[index];

    /// <summary>The number of elements.</summary>
    public long Length
    {
        get
        {
            long length = 1;
            for (int k = 0; k < Count; k++)
                length *= axes[k].Size;
            return length;
        }
    }

    /// <summary>Sorts axes by target stride, largest first, and merges axes that are contiguous in both blocks. Sizes are at least 1.</summary>
    /// <returns>The number of axes that remain, at the start of the span.</returns>
    internal static int Join(Span<StridedAxis> axes)
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

    [InlineArray(MaxAxes)]
    private struct Six
    {
        private StridedAxis first;
    }
}
