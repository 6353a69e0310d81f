using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>Transposes in registers, eight by four or four by four elements.</summary>
internal static unsafe class CpuTranspose
{
    /// <summary>target[k · targetStride + i] = source[i · stride + k] for <paramref name="rows"/> i and <paramref name="depth"/> k.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run(float* source, nint stride, int rows, int depth, float* target, nint targetStride)
    {
        int i = 0;
        if (Avx.IsSupported)
        {
            for (; i <= rows - 8; i += 8, source += 8 * stride)
                EightRows(source, stride, target + i, targetStride, depth);
        }

        for (; i <= rows - 4; i += 4, source += 4 * stride)
        {
            float* r0 = source, r1 = r0 + stride, r2 = r1 + stride, r3 = r2 + stride;
            float* column = target + i;
            int k = 0;
            for (; k <= depth - 4; k += 4, column += 4 * targetStride)
                Four(r0 + k, r1 + k, r2 + k, r3 + k, column, targetStride);
            for (; k < depth; k++, column += targetStride)
            {
                column[0] = r0[k];
                column[1] = r1[k];
                column[2] = r2[k];
                column[3] = r3[k];
            }
        }

        for (; i < rows; i++, source += stride)
        {
            for (int k = 0; k < depth; k++)
                target[k * targetStride + i] = source[k];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void EightRows(float* source, nint stride, float* target, nint width, int depth)
    {
        float* source4 = source + 4 * stride;
        nint stride2 = 2 * stride, stride3 = 3 * stride;
        int k = 0;
        for (; k <= depth - 8; k += 8)
        {
            // Rows i and i + 4 share a register, so that what remains is a transposition within each half.
            Vector256<float> r0 = Halves(source + k, source4 + k), s0 = Halves(source + k + 4, source4 + k + 4);
            Vector256<float> r1 = Halves(source + stride + k, source4 + stride + k), s1 = Halves(source + stride + k + 4, source4 + stride + k + 4);
            Vector256<float> r2 = Halves(source + stride2 + k, source4 + stride2 + k), s2 = Halves(source + stride2 + k + 4, source4 + stride2 + k + 4);
            Vector256<float> r3 = Halves(source + stride3 + k, source4 + stride3 + k), s3 = Halves(source + stride3 + k + 4, source4 + stride3 + k + 4);
            StoreHalf(r0, r1, r2, r3, target, width);
            target += 4 * width;
            StoreHalf(s0, s1, s2, s3, target, width);
            target += 4 * width;
        }

        for (; k < depth; k++, target += width)
        {
            for (int r = 0; r < 8; r++)
                target[r] = source[r * stride + k];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Halves(float* low, float* high) =>
        Avx.InsertVector128(Vector128.Load(low).ToVector256Unsafe(), Vector128.Load(high), 1);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreHalf(Vector256<float> a, Vector256<float> b, Vector256<float> c, Vector256<float> d, float* target, nint width)
    {
        Vector256<float> ab0 = Avx.UnpackLow(a, b), ab1 = Avx.UnpackHigh(a, b), cd0 = Avx.UnpackLow(c, d), cd1 = Avx.UnpackHigh(c, d);
        Avx.Shuffle(ab0, cd0, 0b01_00_01_00).Store(target);
        Avx.Shuffle(ab0, cd0, 0b11_10_11_10).Store(target + width);
        Avx.Shuffle(ab1, cd1, 0b01_00_01_00).Store(target + 2 * width);
        Avx.Shuffle(ab1, cd1, 0b11_10_11_10).Store(target + 3 * width);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Four(float* r0, float* r1, float* r2, float* r3, float* target, nint stride)
    {
        Vector128<float> a = Vector128.Load(r0), b = Vector128.Load(r1), c = Vector128.Load(r2), d = Vector128.Load(r3);
        Vector128<float> ab0 = InterleaveLow(a, b), ab1 = InterleaveHigh(a, b), cd0 = InterleaveLow(c, d), cd1 = InterleaveHigh(c, d);
        Lower(ab0, cd0).Store(target);
        Upper(ab0, cd0).Store(target + stride);
        Lower(ab1, cd1).Store(target + 2 * stride);
        Upper(ab1, cd1).Store(target + 3 * stride);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> InterleaveLow(Vector128<float> a, Vector128<float> b) =>
        Sse.IsSupported ? Sse.UnpackLow(a, b)
        : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipLow(a, b)
        : Vector128.Create(a[0], b[0], a[1], b[1]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> InterleaveHigh(Vector128<float> a, Vector128<float> b) =>
        Sse.IsSupported ? Sse.UnpackHigh(a, b)
        : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipHigh(a, b)
        : Vector128.Create(a[2], b[2], a[3], b[3]);

    /// <summary>The lower halves of both.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Lower(Vector128<float> a, Vector128<float> b) =>
        Sse.IsSupported ? Sse.MoveLowToHigh(a, b)
        : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipLow(a.AsDouble(), b.AsDouble()).AsSingle()
        : Vector128.Create(a.GetLower(), b.GetLower());

    /// <summary>The upper halves of both.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Upper(Vector128<float> a, Vector128<float> b) =>
        Sse.IsSupported ? Sse.MoveHighToLow(b, a)
        : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipHigh(a.AsDouble(), b.AsDouble()).AsSingle()
        : Vector128.Create(a.GetUpper(), b.GetUpper());
}
