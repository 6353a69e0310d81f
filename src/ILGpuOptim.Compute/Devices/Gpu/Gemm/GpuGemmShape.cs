using System.Runtime.CompilerServices;
using ILGPU;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>The tile of C that a group computes. A thread has 8 × 8 elements, so the tile also sets the number of threads.</summary>
internal interface IGpuGemmShape
{
    static abstract int Rows { get; }

    static abstract int Columns { get; }

    /// <summary>Shared memory for two strips of A and two of B.</summary>
    static abstract ArrayView<Float4> Strips();

    /// <summary>Shared memory for the strips of a product on tensor cores.</summary>
    static abstract ArrayView<Float4> Stages();
}

/// <summary>128 × 128 with 256 threads: the most arithmetic per byte.</summary>
internal readonly struct GpuGemm128X128 : IGpuGemmShape
{
    public static int Rows => 128;

    public static int Columns => 128;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ArrayView<Float4> Strips() => SharedMemory.Allocate<Float4>(2 * GpuGemmTiles.Depth * (33 + 33));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ArrayView<Float4> Stages() => SharedMemory.Allocate<Float4>(GpuGemmTensor.Stages * (128 + 128) * GpuGemmTensor.StripBytes / 16);
}

/// <summary>128 × 64 with 128 threads.</summary>
internal readonly struct GpuGemm128X64 : IGpuGemmShape
{
    public static int Rows => 128;

    public static int Columns => 64;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ArrayView<Float4> Strips() => SharedMemory.Allocate<Float4>(2 * GpuGemmTiles.Depth * (33 + 17));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ArrayView<Float4> Stages() => SharedMemory.Allocate<Float4>(GpuGemmTensor.Stages * (128 + 64) * GpuGemmTensor.StripBytes / 16);
}

/// <summary>64 × 128 with 128 threads.</summary>
internal readonly struct GpuGemm64X128 : IGpuGemmShape
{
    public static int Rows => 64;

    public static int Columns => 128;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ArrayView<Float4> Strips() => SharedMemory.Allocate<Float4>(2 * GpuGemmTiles.Depth * (17 + 33));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ArrayView<Float4> Stages() => SharedMemory.Allocate<Float4>(GpuGemmTensor.Stages * (64 + 128) * GpuGemmTensor.StripBytes / 16);
}

/// <summary>64 × 64 with 64 threads: for small products, which need many groups to fill a GPU.</summary>
internal readonly struct GpuGemm64X64 : IGpuGemmShape
{
    public static int Rows => 64;

    public static int Columns => 64;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ArrayView<Float4> Strips() => SharedMemory.Allocate<Float4>(2 * GpuGemmTiles.Depth * (17 + 17));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ArrayView<Float4> Stages() => SharedMemory.Allocate<Float4>(GpuGemmTensor.Stages * (64 + 64) * GpuGemmTensor.StripBytes / 16);
}
