using System.Runtime.CompilerServices;
using ILGPU;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>Four numbers that a GPU loads and stores at once: their address is a multiple of 16 bytes.</summary>
internal struct GpuFour(float a, float b, float c, float d)
{
    public float A = a, B = b, C = c, D = d;

    /// <summary>Eight numbers of two fours.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static GpuEight Join(GpuFour x, GpuFour y) => new(x.A, x.B, x.C, x.D, y.A, y.B, y.C, y.D);
}
