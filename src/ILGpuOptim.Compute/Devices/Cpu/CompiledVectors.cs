using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>Compares the vector instructions that this program was compiled for with those of the processor. They differ in programs compiled ahead of time only.</summary>
internal static class CompiledVectors
{
    /// <summary>One line about vector instructions that the processor has and this program does not use; null if it uses them.</summary>
    public static string? Problem { get; } = Find();

    private static string? Find()
    {
        if (!X86Base.IsSupported || X86Base.CpuId(0, 0).Eax < 7)
            return null;
        bool hasFma = (X86Base.CpuId(1, 0).Ecx & 1 << 12) != 0, hasAvx2 = (X86Base.CpuId(7, 0).Ebx & 1 << 5) != 0;
        return hasFma && hasAvx2 && !Vector256.IsHardwareAccelerated
            ? "this program was compiled for processors without AVX2 and FMA, which this one has, so kernels run many times slower; publish it with -p:IlcInstructionSet=x86-64-v3"
            : null;
    }
}
