using System.Runtime.CompilerServices;
using ILGPU.Frontend.Intrinsic;
using ILGPU.IR.Intrinsics;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Sixteen adjacent floats in memory as one vector, for OpenCL devices that are CPUs; <see cref="GpuMath"/> translates
/// the methods to operations on float16. Left to itself, LLVM uses vectors of 256 bits on CPUs with AVX-512.
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
