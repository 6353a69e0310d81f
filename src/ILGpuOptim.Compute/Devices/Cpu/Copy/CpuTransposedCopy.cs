using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>A strided copy whose contiguous axes differ in source and target: square tiles of those two axes are transposed in registers.</summary>
internal unsafe struct CpuTransposedCopy : IWork
{
    private const int Tile = 64;

    private readonly StridedCopy copy;
    private readonly int axis;
    private readonly float* source;
    private readonly float* target;
    private readonly long tilesOfInner, tilesOfAxis, outer;

    /// <param name="copy">A copy that <see cref="AxisOf"/> accepts.</param>
    /// <param name="axis">The axis that is contiguous in the source.</param>
    /// <param name="source">The element of index 0.</param>
    /// <param name="target">The element of index 0.</param>
    public CpuTransposedCopy(in StridedCopy copy, int axis, float* source, float* target)
    {
        this.copy = copy;
        this.axis = axis;
        this.source = source;
        this.target = target;
        tilesOfInner = (copy[copy.Count - 1].Size + Tile - 1) / Tile;
        tilesOfAxis = (copy[axis].Size + Tile - 1) / Tile;
        outer = copy.Length / (copy[copy.Count - 1].Size * copy[axis].Size);
    }

    public readonly int Pieces => (int)(outer * tilesOfInner);

    /// <summary>The axis that is contiguous in the source while another one is in the target; -1 when the copy is no transposition, or a small one.</summary>
    public static int AxisOf(in StridedCopy copy)
    {
        if (copy.Count < 2 || copy.Accumulate || copy[copy.Count - 1] is not { TargetStride: 1, Size: >= 4, SourceStride: not (1 or 0) })
            return -1;
        for (int k = 0; k < copy.Count - 1; k++)
        {
            if (copy[k] is { SourceStride: 1, Size: >= 4 })
                return k;
        }

        return -1;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public readonly void Invoke(int index, int worker)
    {
        StridedAxis inner = copy[copy.Count - 1], depth = copy[axis];
        long rest = index / tilesOfInner, start = index % tilesOfInner * Tile, from = start * inner.SourceStride, to = start;
        for (int k = copy.Count - 2; k >= 0; k--)
        {
            if (k == axis)
                continue;
            StridedAxis other = copy[k];
            from += rest % other.Size * other.SourceStride;
            to += rest % other.Size * other.TargetStride;
            rest /= other.Size;
        }

        int rows = (int)Math.Min(Tile, inner.Size - start);
        for (long tile = 0; tile < tilesOfAxis; tile++)
        {
            long first = tile * Tile;
            CpuTranspose.Run(source + from + first, (nint)inner.SourceStride, rows, (int)Math.Min(Tile, depth.Size - first), target + to + first * depth.TargetStride, (nint)depth.TargetStride);
        }
    }
}
