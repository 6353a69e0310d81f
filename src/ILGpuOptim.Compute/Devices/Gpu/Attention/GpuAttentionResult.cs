using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>A thread's part of a result in registers: one 8 × 4 tile for each 64 columns. The number of them is a constant of the kernel.</summary>
internal struct GpuAttentionResult
{
    public GpuHalfTile A, B, C, D;

    /// <summary>Multiplies each row by a factor.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Scale(Float4Pair factors, int tiles)
    {
        A.Scale(factors);
        if (tiles > 1)
            B.Scale(factors);
        if (tiles > 2)
            C.Scale(factors);
        if (tiles > 3)
            D.Scale(factors);
    }
}
