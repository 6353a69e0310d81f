using System.Runtime.CompilerServices;
using ILGPU;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Attention on CPUs behind OpenCL, where a barrier is a loop over all threads and shared memory is ordinary memory: a group has one thread, which
/// processes the 64 parts of a tile in turn. LLVM vectorizes a part, and operands that need no transposition are read in place. Scores are kept in shared
/// memory, and sums over tiles in the result.
/// </summary>
internal static partial class GpuAttentionPanels
{
    private const int Tile = GpuAttention.Tile, Pitch = GpuAttentionPart.Pitch, Parts = Tile / 8;

    /// <summary>Copies up to 64 elements of up to 64 rows into shared memory, transposed. Missing rows become zeros.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadTransposed(ArrayView<float> target, ArrayView<float> source, long start, int stride, int rows, int columns, float scale)
    {
        int depth = IntrinsicMath.Min(Tile, columns);
        for (int row = 0; row < Tile; row++)
        {
            for (int d = 0; d < depth; d++)
                target[d * Pitch + row] = row < rows ? source[start + (long)row * stride + d] * scale : 0;
        }
    }

    /// <summary>Copies up to 64 elements of up to 64 rows into shared memory. Missing elements become zeros.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadRows(ArrayView<float> target, ArrayView<float> source, long start, int stride, int rows, int columns)
    {
        for (int t = 0; t < Tile * Tile; t++)
        {
            int row = t / Tile, d = t % Tile;
            target[t] = row < rows && d < columns ? source[start + (long)row * stride + d] : 0;
        }
    }

    /// <summary>target = target · factor + sum · scale; the <paramref name="first"/> time the old target is not read.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Accumulate(
        ArrayView<float> target, long start, GpuAttentionPart at, int columns, int form, Float4Pair sum, bool first, float factor, float scale)
    {
        sum *= scale;
        if ((form & GpuAttention.Direct) != 0)
        {
            if (!first)
                sum = sum.Plus(Float4Pair.Load(target, start + at.X, 1), factor);
            sum.Store(target, start + at.X, 1);
            return;
        }

        int column = at.X;
        StoreElement(target, start, column, columns, sum.A, first, factor);
        StoreElement(target, start, column + 1, columns, sum.B, first, factor);
        StoreElement(target, start, column + 2, columns, sum.C, first, factor);
        StoreElement(target, start, column + 3, columns, sum.D, first, factor);
        StoreElement(target, start, column + 4, columns, sum.E, first, factor);
        StoreElement(target, start, column + 5, columns, sum.F, first, factor);
        StoreElement(target, start, column + 6, columns, sum.G, first, factor);
        StoreElement(target, start, column + 7, columns, sum.H, first, factor);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreElement(ArrayView<float> target, long start, int column, int columns, float value, bool first, float factor)
    {
        if (column >= columns)
            return;
        if (!first)
            value = MathF.FusedMultiplyAdd(target[start + column], factor, value);
        target[start + column] = value;
    }

    /// <summary>cap · tanh(scores / cap).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static GpuTile Cap(GpuTile scores, float cap) => new()
    {
        A = scores.A.Capped(cap),
        B = scores.B.Capped(cap),
        C = scores.C.Capped(cap),
        D = scores.D.Capped(cap),
        E = scores.E.Capped(cap),
        F = scores.F.Capped(cap),
        G = scores.G.Capped(cap),
        H = scores.H.Capped(cap),
    };
}
