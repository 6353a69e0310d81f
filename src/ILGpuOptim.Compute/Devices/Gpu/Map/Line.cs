using System.Runtime.CompilerServices;
using ILGPU.Frontend.Intrinsic;
using ILGPU.IR.Intrinsics;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Sixteen neighbouring numbers in memory as one vector, in one thread of an OpenCL device that is a processor (<see cref="GpuMath"/> turns
/// the methods into operations on float16). Compilers make vectors of loops as well, but on processors with AVX-512 only half as wide.
/// </summary>
internal static class Line
{
    public const int Length = 16;

    /// <summary>target + factor · source, rounded once.</summary>
    [IntrinsicImplementation]
    public static void Add(ref float target, float factor, ref float source)
    {
        for (int i = 0; i < Length; i++)
            Unsafe.Add(ref target, i) = MathF.FusedMultiplyAdd(factor, Unsafe.Add(ref source, i), Unsafe.Add(ref target, i));
    }

    /// <summary>target = source.</summary>
    [IntrinsicImplementation]
    public static void Copy(ref float target, ref float source)
    {
        for (int i = 0; i < Length; i++)
            Unsafe.Add(ref target, i) = Unsafe.Add(ref source, i);
    }
}
