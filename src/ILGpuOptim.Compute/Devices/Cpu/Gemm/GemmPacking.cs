using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>Copies parts of stored rows into strips, widened to f32.</summary>
internal static unsafe class GemmPacking
{
    /// <summary>Rows that are prefetched ahead of those copied: parts of rows are too short, and too far apart, for hardware prefetching.</summary>
    private const int RowsAhead = 8;

    /// <summary>target[k · width + i] = source[k · stride + i].</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Copy(float* source, nint stride, float* target, int width, int count, int depth)
    {
        nint ahead = RowsAhead * stride;
        for (int k = 0; k < depth; k++, source += stride, target += width)
        {
            for (int i = 0; i < count; i += 16)
                Prefetch(source + ahead + i);
            CopyRow(source, target, count);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Prefetch(void* address)
    {
        if (Sse.IsSupported)
            Sse.Prefetch0(address);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void CopyRow(float* source, float* target, int count)
    {
        int i = 0;
        if (Vector512.IsHardwareAccelerated)
        {
            for (; i <= count - 16; i += 16)
                Vector512.Load(source + i).Store(target + i);
        }

        for (; i <= count - 8; i += 8)
            Vector256.Load(source + i).Store(target + i);
        if (i <= count - 4)
        {
            Vector128.Load(source + i).Store(target + i);
            i += 4;
        }

        for (; i < count; i++)
            target[i] = source[i];
    }

    /// <summary>As <see cref="Copy"/>, from bf16.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Widen(ushort* source, nint stride, float* target, int width, int count, int depth)
    {
        nint ahead = RowsAhead * stride;
        for (int k = 0; k < depth; k++, source += stride, target += width)
        {
            for (int j = 0; j < count; j += 32)
                Prefetch(source + ahead + j);
            int i = 0;
            for (; i <= count - 16; i += 16)
            {
                (Vector256<uint> low, Vector256<uint> high) = Vector256.Widen(Vector256.Load(source + i));
                (low << 16).AsSingle().Store(target + i);
                (high << 16).AsSingle().Store(target + i + 8);
            }

            if (i <= count - 8)
            {
                Vector128<ushort> eight = Vector128.Load(source + i);
                (Vector256.WidenLower(eight.ToVector256Unsafe()) << 16).AsSingle().Store(target + i);
                i += 8;
            }

            for (; i < count; i++)
                target[i] = Bf16.Widen(source[i]);
        }
    }

    /// <summary>Pads a strip with zeros.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Clear(float* target, int width, int count, int depth)
    {
        for (int k = 0; k < depth; k++, target += width)
            new Span<float>(target + count, width - count).Clear();
    }

    /// <summary>Bytes times their scale.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Widen(sbyte* source, float scale, float* target, int count)
    {
        int i = 0;
        for (; i <= count - 16; i += 16)
        {
            (Vector128<short> low, Vector128<short> high) = Vector128.Widen(Vector128.Load(source + i));
            (Vector128<int> a, Vector128<int> b) = Vector128.Widen(low);
            (Vector128<int> c, Vector128<int> d) = Vector128.Widen(high);
            (Vector128.ConvertToSingle(a) * scale).Store(target + i);
            (Vector128.ConvertToSingle(b) * scale).Store(target + i + 4);
            (Vector128.ConvertToSingle(c) * scale).Store(target + i + 8);
            (Vector128.ConvertToSingle(d) * scale).Store(target + i + 12);
        }

        for (; i < count; i++)
            target[i] = source[i] * scale;
    }
}
