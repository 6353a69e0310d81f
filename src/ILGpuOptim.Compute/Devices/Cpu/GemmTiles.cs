using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>One tile of C: the product of some rows of A with one panel of B.</summary>
internal unsafe struct Panel
{
    /// <summary>Element (row, k) of A is at <c>A[row · RowStrideA + k · StepA]</c>.</summary>
    public float* A;
    public nint RowStrideA;
    public nint StepA;

    /// <summary>Row k of the panel begins at <c>B[k · StepB]</c>.</summary>
    public float* B;
    public nint StepB;

    public float* C;
    public nint RowStrideC;
    public int K;
    public float Alpha;

    /// <summary>Multiplies the old C; C is not read when it is 0.</summary>
    public float Beta;
}

/// <summary>
/// The inner loops of the matrix product: a tile of C lives in registers while the k dimension streams by. Twelve
/// rows of two vectors fill the 32 registers of AVX-512, six of two the 16 registers of AVX2.
/// </summary>
internal static unsafe class GemmTiles
{
    /// <summary>Rows of a tile for a lane.</summary>
    public static int Rows<L>() where L : struct, IVectorLane<L> => L.Count == 16 ? 12 : 6;

    /// <summary>Computes a tile of <see cref="Rows"/> rows and <paramref name="vectors"/> (1 or 2) vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Run<L>(int vectors, in Panel panel) where L : struct, IVectorLane<L>
    {
        if (L.Count == 16 && vectors == 2)
            Tile12x2(panel);
        else if (L.Count == 16)
            Tile12x1(panel);
        else if (vectors == 2)
            Tile6x2<L>(panel);
        else
            Tile6x1<L>(panel);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put1<L>(float* c, L x, in Panel panel) where L : struct, IVectorLane<L>
    {
        x *= L.Splat(panel.Alpha);
        L.Store(panel.Beta == 0 ? x : L.Fma(L.Splat(panel.Beta), L.Load(c), x), c);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put2<L>(float* c, L x, L y, in Panel panel) where L : struct, IVectorLane<L>
    {
        Put1(c, x, panel);
        Put1(c + L.Count, y, panel);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile12x2(in Panel panel)
    {
        float* a0 = panel.A, b = panel.B, c = panel.C;
        nint row = panel.RowStrideA, step = panel.StepA, stepB = panel.StepB;
        float* a5 = a0 + 5 * row;
        float* a10 = a0 + 10 * row;
        nint row3 = 3 * row;
        F16 c0a = default, c0b = default, c1a = default, c1b = default, c2a = default, c2b = default, c3a = default, c3b = default, c4a = default, c4b = default, c5a = default, c5b = default, c6a = default, c6b = default, c7a = default, c7b = default, c8a = default, c8b = default, c9a = default, c9b = default, c10a = default, c10b = default, c11a = default, c11b = default;
        for (int k = panel.K; k > 0; k--)
        {
            F16 b0 = F16.Load(b);
            F16 b1 = F16.Load(b + F16.Count);
            F16 x;
            x = F16.Splat(*(a0));
            c0a = F16.Fma(x, b0, c0a);
            c0b = F16.Fma(x, b1, c0b);
            x = F16.Splat(*(a0 + row));
            c1a = F16.Fma(x, b0, c1a);
            c1b = F16.Fma(x, b1, c1b);
            x = F16.Splat(*(a0 + row * 2));
            c2a = F16.Fma(x, b0, c2a);
            c2b = F16.Fma(x, b1, c2b);
            x = F16.Splat(*(a0 + row3));
            c3a = F16.Fma(x, b0, c3a);
            c3b = F16.Fma(x, b1, c3b);
            x = F16.Splat(*(a0 + row * 4));
            c4a = F16.Fma(x, b0, c4a);
            c4b = F16.Fma(x, b1, c4b);
            x = F16.Splat(*(a5));
            c5a = F16.Fma(x, b0, c5a);
            c5b = F16.Fma(x, b1, c5b);
            x = F16.Splat(*(a5 + row));
            c6a = F16.Fma(x, b0, c6a);
            c6b = F16.Fma(x, b1, c6b);
            x = F16.Splat(*(a5 + row * 2));
            c7a = F16.Fma(x, b0, c7a);
            c7b = F16.Fma(x, b1, c7b);
            x = F16.Splat(*(a5 + row3));
            c8a = F16.Fma(x, b0, c8a);
            c8b = F16.Fma(x, b1, c8b);
            x = F16.Splat(*(a5 + row * 4));
            c9a = F16.Fma(x, b0, c9a);
            c9b = F16.Fma(x, b1, c9b);
            x = F16.Splat(*(a10));
            c10a = F16.Fma(x, b0, c10a);
            c10b = F16.Fma(x, b1, c10b);
            x = F16.Splat(*(a10 + row));
            c11a = F16.Fma(x, b0, c11a);
            c11b = F16.Fma(x, b1, c11b);
            a0 += step;
            a5 += step;
            a10 += step;
            b += stepB;
        }

        nint ldc = panel.RowStrideC;
        Put2(c, c0a, c0b, panel);
        c += ldc;
        Put2(c, c1a, c1b, panel);
        c += ldc;
        Put2(c, c2a, c2b, panel);
        c += ldc;
        Put2(c, c3a, c3b, panel);
        c += ldc;
        Put2(c, c4a, c4b, panel);
        c += ldc;
        Put2(c, c5a, c5b, panel);
        c += ldc;
        Put2(c, c6a, c6b, panel);
        c += ldc;
        Put2(c, c7a, c7b, panel);
        c += ldc;
        Put2(c, c8a, c8b, panel);
        c += ldc;
        Put2(c, c9a, c9b, panel);
        c += ldc;
        Put2(c, c10a, c10b, panel);
        c += ldc;
        Put2(c, c11a, c11b, panel);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile12x1(in Panel panel)
    {
        float* a0 = panel.A, b = panel.B, c = panel.C;
        nint row = panel.RowStrideA, step = panel.StepA, stepB = panel.StepB;
        float* a5 = a0 + 5 * row;
        float* a10 = a0 + 10 * row;
        nint row3 = 3 * row;
        F16 c0a = default, c1a = default, c2a = default, c3a = default, c4a = default, c5a = default, c6a = default, c7a = default, c8a = default, c9a = default, c10a = default, c11a = default;
        for (int k = panel.K; k > 0; k--)
        {
            F16 b0 = F16.Load(b);
            F16 x;
            x = F16.Splat(*(a0));
            c0a = F16.Fma(x, b0, c0a);
            x = F16.Splat(*(a0 + row));
            c1a = F16.Fma(x, b0, c1a);
            x = F16.Splat(*(a0 + row * 2));
            c2a = F16.Fma(x, b0, c2a);
            x = F16.Splat(*(a0 + row3));
            c3a = F16.Fma(x, b0, c3a);
            x = F16.Splat(*(a0 + row * 4));
            c4a = F16.Fma(x, b0, c4a);
            x = F16.Splat(*(a5));
            c5a = F16.Fma(x, b0, c5a);
            x = F16.Splat(*(a5 + row));
            c6a = F16.Fma(x, b0, c6a);
            x = F16.Splat(*(a5 + row * 2));
            c7a = F16.Fma(x, b0, c7a);
            x = F16.Splat(*(a5 + row3));
            c8a = F16.Fma(x, b0, c8a);
            x = F16.Splat(*(a5 + row * 4));
            c9a = F16.Fma(x, b0, c9a);
            x = F16.Splat(*(a10));
            c10a = F16.Fma(x, b0, c10a);
            x = F16.Splat(*(a10 + row));
            c11a = F16.Fma(x, b0, c11a);
            a0 += step;
            a5 += step;
            a10 += step;
            b += stepB;
        }

        nint ldc = panel.RowStrideC;
        Put1(c, c0a, panel);
        c += ldc;
        Put1(c, c1a, panel);
        c += ldc;
        Put1(c, c2a, panel);
        c += ldc;
        Put1(c, c3a, panel);
        c += ldc;
        Put1(c, c4a, panel);
        c += ldc;
        Put1(c, c5a, panel);
        c += ldc;
        Put1(c, c6a, panel);
        c += ldc;
        Put1(c, c7a, panel);
        c += ldc;
        Put1(c, c8a, panel);
        c += ldc;
        Put1(c, c9a, panel);
        c += ldc;
        Put1(c, c10a, panel);
        c += ldc;
        Put1(c, c11a, panel);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile6x2<L>(in Panel panel) where L : struct, IVectorLane<L>
    {
        float* a0 = panel.A, b = panel.B, c = panel.C;
        nint row = panel.RowStrideA, step = panel.StepA, stepB = panel.StepB;
        float* a5 = a0 + 5 * row;
        nint row3 = 3 * row;
        L c0a = default, c0b = default, c1a = default, c1b = default, c2a = default, c2b = default, c3a = default, c3b = default, c4a = default, c4b = default, c5a = default, c5b = default;
        for (int k = panel.K; k > 0; k--)
        {
            L b0 = L.Load(b);
            L b1 = L.Load(b + L.Count);
            L x;
            x = L.Splat(*(a0));
            c0a = L.Fma(x, b0, c0a);
            c0b = L.Fma(x, b1, c0b);
            x = L.Splat(*(a0 + row));
            c1a = L.Fma(x, b0, c1a);
            c1b = L.Fma(x, b1, c1b);
            x = L.Splat(*(a0 + row * 2));
            c2a = L.Fma(x, b0, c2a);
            c2b = L.Fma(x, b1, c2b);
            x = L.Splat(*(a0 + row3));
            c3a = L.Fma(x, b0, c3a);
            c3b = L.Fma(x, b1, c3b);
            x = L.Splat(*(a0 + row * 4));
            c4a = L.Fma(x, b0, c4a);
            c4b = L.Fma(x, b1, c4b);
            x = L.Splat(*(a5));
            c5a = L.Fma(x, b0, c5a);
            c5b = L.Fma(x, b1, c5b);
            a0 += step;
            a5 += step;
            b += stepB;
        }

        nint ldc = panel.RowStrideC;
        Put2(c, c0a, c0b, panel);
        c += ldc;
        Put2(c, c1a, c1b, panel);
        c += ldc;
        Put2(c, c2a, c2b, panel);
        c += ldc;
        Put2(c, c3a, c3b, panel);
        c += ldc;
        Put2(c, c4a, c4b, panel);
        c += ldc;
        Put2(c, c5a, c5b, panel);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile6x1<L>(in Panel panel) where L : struct, IVectorLane<L>
    {
        float* a0 = panel.A, b = panel.B, c = panel.C;
        nint row = panel.RowStrideA, step = panel.StepA, stepB = panel.StepB;
        float* a5 = a0 + 5 * row;
        nint row3 = 3 * row;
        L c0a = default, c1a = default, c2a = default, c3a = default, c4a = default, c5a = default;
        for (int k = panel.K; k > 0; k--)
        {
            L b0 = L.Load(b);
            L x;
            x = L.Splat(*(a0));
            c0a = L.Fma(x, b0, c0a);
            x = L.Splat(*(a0 + row));
            c1a = L.Fma(x, b0, c1a);
            x = L.Splat(*(a0 + row * 2));
            c2a = L.Fma(x, b0, c2a);
            x = L.Splat(*(a0 + row3));
            c3a = L.Fma(x, b0, c3a);
            x = L.Splat(*(a0 + row * 4));
            c4a = L.Fma(x, b0, c4a);
            x = L.Splat(*(a5));
            c5a = L.Fma(x, b0, c5a);
            a0 += step;
            a5 += step;
            b += stepB;
        }

        nint ldc = panel.RowStrideC;
        Put1(c, c0a, panel);
        c += ldc;
        Put1(c, c1a, panel);
        c += ldc;
        Put1(c, c2a, panel);
        c += ldc;
        Put1(c, c3a, panel);
        c += ldc;
        Put1(c, c4a, panel);
        c += ldc;
        Put1(c, c5a, panel);
    }
}
