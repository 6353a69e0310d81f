using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;

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
/// The inner loops of the matrix product: a tile of C stays in registers while the loop runs over k. Eight
/// rows of three vectors fill the 32 registers of AVX-512 and of Arm, six of two the 16 registers of AVX2.
/// </summary>
internal static unsafe class GemmTiles
{
    /// <summary>Rows of a whole tile.</summary>
    public static int Rows<L>() where L : struct, IVectorLane<L> => IsWide<L>() ? 8 : 6;

    /// <summary>Vectors of a whole tile's row.</summary>
    public static int Vectors<L>() where L : struct, IVectorLane<L> => IsWide<L>() ? 3 : 2;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsWide<L>() where L : struct, IVectorLane<L> => L.Count == 16 || (L.Count == 4 && AdvSimd.Arm64.IsSupported);

    /// <summary>Computes a tile of <see cref="Rows"/> rows and <paramref name="vectors"/> (1 to <see cref="Vectors"/>) vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Run<L>(int vectors, in Panel panel) where L : struct, IVectorLane<L> => Run<L>(Rows<L>(), vectors, panel);

    /// <summary>Computes a tile of 1 to <see cref="Rows"/> rows and <paramref name="vectors"/> (1 to <see cref="Vectors"/>) vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Run<L>(int rows, int vectors, in Panel panel) where L : struct, IVectorLane<L>
    {
        if (L.Count == 16)
            Run<GemmVectors512, Vector512<float>, Eight>(rows, vectors, panel);
        else if (L.Count == 8)
            Run<GemmVectors256, Vector256<float>, Six>(rows, vectors, panel);
        else if (IsWide<L>())
            Run<GemmVectors128, Vector128<float>, Eight>(rows, vectors, panel);
        else
            Run<GemmVectors128, Vector128<float>, Six>(rows, vectors, panel);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Run<S, V, R>(int rows, int vectors, in Panel panel)
        where S : struct, IGemmVectors<V>
        where V : struct
        where R : struct, IGemmSize
    {
        if (rows == R.Value)
            Run<S, V, R>(vectors, panel);
        else
            RunPieces<S, V>(rows, vectors, panel);
    }

    /// <summary>Fewer rows than a whole tile: as tiles of 4, 2 and 1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void RunPieces<S, V>(int rows, int vectors, in Panel panel)
        where S : struct, IGemmVectors<V>
        where V : struct
    {
        Panel piece = panel;
        while (rows > 0)
        {
            int taken = rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
            if (taken == 4)
                Run<S, V, Four>(vectors, piece);
            else if (taken == 2)
                Run<S, V, Two>(vectors, piece);
            else
                Run<S, V, One>(vectors, piece);
            piece.A += taken * piece.RowStrideA;
            piece.C += taken * piece.RowStrideC;
            rows -= taken;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Run<S, V, R>(int vectors, in Panel panel)
        where S : struct, IGemmVectors<V>
        where V : struct
        where R : struct, IGemmSize
    {
        if (vectors == 3)
            Tile<S, V, R, Three>(panel);
        else if (vectors == 2)
            Tile<S, V, R, Two>(panel);
        else
            Tile<S, V, R, One>(panel);
    }

    /// <summary>R × N accumulators; the compiler removes those beyond R or N.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile<S, V, R, N>(in Panel panel)
        where S : struct, IGemmVectors<V>
        where V : struct
        where R : struct, IGemmSize
        where N : struct, IGemmSize
    {
        byte* a = (byte*)panel.A;
        float* b = panel.B;
        nint row = panel.RowStrideA * sizeof(float), row2 = 2 * row, row3 = 3 * row;
        nint step = panel.StepA * sizeof(float), stepB = panel.StepB;
        byte* a4 = a + 4 * row;
        V c00 = default, c01 = default, c02 = default;
        V c10 = default, c11 = default, c12 = default;
        V c20 = default, c21 = default, c22 = default;
        V c30 = default, c31 = default, c32 = default;
        V c40 = default, c41 = default, c42 = default;
        V c50 = default, c51 = default, c52 = default;
        V c60 = default, c61 = default, c62 = default;
        V c70 = default, c71 = default, c72 = default;
        for (int k = panel.K; k > 0; k--)
        {
            V b0 = S.Load(b), b1 = default, b2 = default;
            if (N.Value > 1)
                b1 = S.Load(b + S.Count);
            if (N.Value > 2)
                b2 = S.Load(b + 2 * S.Count);
            V x = S.Splat(*(float*)a);
            c00 = S.Fma(x, b0, c00);
            if (N.Value > 1)
                c01 = S.Fma(x, b1, c01);
            if (N.Value > 2)
                c02 = S.Fma(x, b2, c02);
            if (R.Value > 1)
            {
                x = S.Splat(*(float*)(a + row));
                c10 = S.Fma(x, b0, c10);
                if (N.Value > 1)
                    c11 = S.Fma(x, b1, c11);
                if (N.Value > 2)
                    c12 = S.Fma(x, b2, c12);
            }

            if (R.Value > 2)
            {
                x = S.Splat(*(float*)(a + row2));
                c20 = S.Fma(x, b0, c20);
                if (N.Value > 1)
                    c21 = S.Fma(x, b1, c21);
                if (N.Value > 2)
                    c22 = S.Fma(x, b2, c22);
            }

            if (R.Value > 3)
            {
                x = S.Splat(*(float*)(a + row3));
                c30 = S.Fma(x, b0, c30);
                if (N.Value > 1)
                    c31 = S.Fma(x, b1, c31);
                if (N.Value > 2)
                    c32 = S.Fma(x, b2, c32);
            }

            if (R.Value > 4)
            {
                x = S.Splat(*(float*)(a4));
                c40 = S.Fma(x, b0, c40);
                if (N.Value > 1)
                    c41 = S.Fma(x, b1, c41);
                if (N.Value > 2)
                    c42 = S.Fma(x, b2, c42);
            }

            if (R.Value > 5)
            {
                x = S.Splat(*(float*)(a4 + row));
                c50 = S.Fma(x, b0, c50);
                if (N.Value > 1)
                    c51 = S.Fma(x, b1, c51);
                if (N.Value > 2)
                    c52 = S.Fma(x, b2, c52);
            }

            if (R.Value > 6)
            {
                x = S.Splat(*(float*)(a4 + row2));
                c60 = S.Fma(x, b0, c60);
                if (N.Value > 1)
                    c61 = S.Fma(x, b1, c61);
                if (N.Value > 2)
                    c62 = S.Fma(x, b2, c62);
            }

            if (R.Value > 7)
            {
                x = S.Splat(*(float*)(a4 + row3));
                c70 = S.Fma(x, b0, c70);
                if (N.Value > 1)
                    c71 = S.Fma(x, b1, c71);
                if (N.Value > 2)
                    c72 = S.Fma(x, b2, c72);
            }

            a += step;
            if (R.Value > 4)
                a4 += step;
            b += stepB;
        }

        float* c = panel.C;
        nint stride = panel.RowStrideC;
        V alpha = S.Splat(panel.Alpha), beta = S.Splat(panel.Beta);
        bool adds = panel.Beta != 0;
        Put<S, V, N>(c, c00, c01, c02, alpha, beta, adds);
        if (R.Value > 1)
            Put<S, V, N>(c += stride, c10, c11, c12, alpha, beta, adds);
        if (R.Value > 2)
            Put<S, V, N>(c += stride, c20, c21, c22, alpha, beta, adds);
        if (R.Value > 3)
            Put<S, V, N>(c += stride, c30, c31, c32, alpha, beta, adds);
        if (R.Value > 4)
            Put<S, V, N>(c += stride, c40, c41, c42, alpha, beta, adds);
        if (R.Value > 5)
            Put<S, V, N>(c += stride, c50, c51, c52, alpha, beta, adds);
        if (R.Value > 6)
            Put<S, V, N>(c += stride, c60, c61, c62, alpha, beta, adds);
        if (R.Value > 7)
            Put<S, V, N>(c += stride, c70, c71, c72, alpha, beta, adds);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put<S, V, N>(float* c, V x, V y, V z, V alpha, V beta, bool adds)
        where S : struct, IGemmVectors<V>
        where V : struct
        where N : struct, IGemmSize
    {
        x = S.Multiply(x, alpha);
        if (N.Value > 1)
            y = S.Multiply(y, alpha);
        if (N.Value > 2)
            z = S.Multiply(z, alpha);
        if (adds)
        {
            x = S.Fma(beta, S.Load(c), x);
            if (N.Value > 1)
                y = S.Fma(beta, S.Load(c + S.Count), y);
            if (N.Value > 2)
                z = S.Fma(beta, S.Load(c + 2 * S.Count), z);
        }

        S.Store(x, c);
        if (N.Value > 1)
            S.Store(y, c + S.Count);
        if (N.Value > 2)
            S.Store(z, c + 2 * S.Count);
    }
}
