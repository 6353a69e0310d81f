using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>The queries of a warp in registers: up to 16 fragments of 32 bytes of a head.</summary>
internal struct GpuAttentionQueries
{
    private Words4 a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p;

    /// <summary>Loads them from a tile.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Load<P>(GpuTensorRows<P> rows, int tile) where P : struct, IGpuFactor
    {
        Load(rows, tile, 0, ref a);
        Load(rows, tile, 1, ref b);
        Load(rows, tile, 2, ref c);
        Load(rows, tile, 3, ref d);
        Load(rows, tile, 4, ref e);
        Load(rows, tile, 5, ref f);
        Load(rows, tile, 6, ref g);
        Load(rows, tile, 7, ref h);
        Load(rows, tile, 8, ref i);
        Load(rows, tile, 9, ref j);
        Load(rows, tile, 10, ref k);
        Load(rows, tile, 11, ref l);
        Load(rows, tile, 12, ref m);
        Load(rows, tile, 13, ref n);
        Load(rows, tile, 14, ref o);
        Load(rows, tile, 15, ref p);
    }

    /// <summary>Adds their products with a tile of keys.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Multiply<P>(GpuTensorRows<P> rows, int tile, int keys, ref GpuAttentionWeights sums) where P : struct, IGpuFactor
    {
        Multiply(rows, tile, keys, 0, a, ref sums);
        Multiply(rows, tile, keys, 1, b, ref sums);
        Multiply(rows, tile, keys, 2, c, ref sums);
        Multiply(rows, tile, keys, 3, d, ref sums);
        Multiply(rows, tile, keys, 4, e, ref sums);
        Multiply(rows, tile, keys, 5, f, ref sums);
        Multiply(rows, tile, keys, 6, g, ref sums);
        Multiply(rows, tile, keys, 7, h, ref sums);
        Multiply(rows, tile, keys, 8, i, ref sums);
        Multiply(rows, tile, keys, 9, j, ref sums);
        Multiply(rows, tile, keys, 10, k, ref sums);
        Multiply(rows, tile, keys, 11, l, ref sums);
        Multiply(rows, tile, keys, 12, m, ref sums);
        Multiply(rows, tile, keys, 13, n, ref sums);
        Multiply(rows, tile, keys, 14, o, ref sums);
        Multiply(rows, tile, keys, 15, p, ref sums);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Load<P>(GpuTensorRows<P> rows, int tile, int step, ref Words4 fragment) where P : struct, IGpuFactor
    {
        if (rows.Steps > step)
            fragment = rows.Left(tile, step);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Multiply<P>(GpuTensorRows<P> rows, int tile, int keys, int step, Words4 fragment, ref GpuAttentionWeights sums) where P : struct, IGpuFactor
    {
        if (rows.Steps <= step)
            return;
        int next = GpuTensorRows<P>.Side * rows.Pitch;
        sums.A.Add<P>(fragment, rows.Right(tile, step));
        sums.B.Add<P>(fragment, rows.Right(tile + next, step));
        if (keys != 64)
            return;
        sums.C.Add<P>(fragment, rows.Right(tile + 2 * next, step));
        sums.D.Add<P>(fragment, rows.Right(tile + 3 * next, step));
    }
}

/// <summary>A lane's scores of 16 queries, then their weights: of 64 keys, or of 32 in the first two squares.</summary>
internal struct GpuAttentionWeights
{
    public GpuTensorSquare A, B, C, D;

    /// <summary>The largest score of the lane's upper row; may lose a NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float LargestOfUpper(int keys)
    {
        float largest = GpuAttentionTensor.Larger(Upper(A), Upper(B));
        return keys == 64 ? GpuAttentionTensor.Larger(largest, GpuAttentionTensor.Larger(Upper(C), Upper(D))) : largest;
    }

    /// <summary>The same of the lower row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float LargestOfLower(int keys)
    {
        float largest = GpuAttentionTensor.Larger(Lower(A), Lower(B));
        return keys == 64 ? GpuAttentionTensor.Larger(largest, GpuAttentionTensor.Larger(Lower(C), Lower(D))) : largest;
    }

    /// <summary>Replaces scores by their exponentials relative to a shift of each row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Exponentials(float upper, float lower, int keys)
    {
        A = Exponentials(A, upper, lower);
        B = Exponentials(B, upper, lower);
        if (keys != 64)
            return;
        C = Exponentials(C, upper, lower);
        D = Exponentials(D, upper, lower);
    }

    /// <summary>The sum of the lane's upper row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float SumOfUpper(int keys)
    {
        float sum = A.A.A + A.A.B + (A.B.A + A.B.B) + (B.A.A + B.A.B + (B.B.A + B.B.B));
        return keys == 64 ? sum + (C.A.A + C.A.B + (C.B.A + C.B.B) + (D.A.A + D.A.B + (D.B.A + D.B.B))) : sum;
    }

    /// <summary>The same of the lower row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float SumOfLower(int keys)
    {
        float sum = A.A.C + A.A.D + (A.B.C + A.B.D) + (B.A.C + B.A.D + (B.B.C + B.B.D));
        return keys == 64 ? sum + (C.A.C + C.A.D + (C.B.C + C.B.D) + (D.A.C + D.A.D + (D.B.C + D.B.D))) : sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Upper(GpuTensorSquare square) =>
        GpuAttentionTensor.Larger(GpuAttentionTensor.Larger(square.A.A, square.A.B), GpuAttentionTensor.Larger(square.B.A, square.B.B));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Lower(GpuTensorSquare square) =>
        GpuAttentionTensor.Larger(GpuAttentionTensor.Larger(square.A.C, square.A.D), GpuAttentionTensor.Larger(square.B.C, square.B.D));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static GpuTensorSquare Exponentials(GpuTensorSquare square, float upper, float lower) => new()
    {
        A = Exponentials(square.A, upper, lower),
        B = Exponentials(square.B, upper, lower),
    };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Exponentials(Float4 scores, float upper, float lower) => new(
        GpuAttentionTensor.Exp(scores.A - upper), GpuAttentionTensor.Exp(scores.B - upper), GpuAttentionTensor.Exp(scores.C - lower), GpuAttentionTensor.Exp(scores.D - lower));
}
