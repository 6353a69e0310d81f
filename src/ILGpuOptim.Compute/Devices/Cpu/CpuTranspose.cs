using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>Rows become columns, four by four in registers.</summary>
internal static unsafe class CpuTranspose
{
    /// <summary>target[k · targetStride + i] = source[i · stride + k] for <paramref name="rows"/> i and <paramref name="depth"/> k.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run(float* source, nint stride, int rows, int depth, float* target, nint targetStride)
    {
        int i = 0;
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
