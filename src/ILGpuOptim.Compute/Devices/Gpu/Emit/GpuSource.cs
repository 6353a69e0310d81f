using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using ILGPU.Backends;
using ILGPU.Backends.OpenCL;
using ILGPU.Backends.PTX;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Corrects the source that ILGPU 1.5.3 generates, before a driver compiles it.
/// <list type="bullet">
/// <item>OpenCL: barriers fence global memory only, although kernels exchange data through local memory. They must fence both.</item>
/// <item>OpenCL: compilers may fuse a multiplication and an addition by default. Results would differ between drivers, so it is turned off.</item>
/// <item>
/// PTX: conditional branches are marked <c>bra.uni</c>, which promises that all lanes of a warp agree, also where they do not; behaviour is
/// then undefined. The promise is removed. An unconditional <c>bra.uni</c> is right and stays.
/// </item>
/// </list>
/// </summary>
internal static partial class GpuSource
{
    private const string Barrier = "barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)", NoContraction = "#pragma OPENCL FP_CONTRACT OFF\n";

    /// <summary>Corrects a kernel in place and returns it.</summary>
    /// <param name="kernel">The kernel as ILGPU's backend returns it.</param>
    /// <exception cref="NotSupportedException">The source has a barrier or a conditional branch of an unknown form.</exception>
    public static CompiledKernel Correct(CompiledKernel kernel)
    {
        if (kernel is PTXCompiledKernel ptx)
            SourceOf(ptx) = CorrectPtx(ptx.PTXAssembly);
        else if (kernel is CLCompiledKernel cl)
            SourceOf(cl) = CorrectOpenCl(cl.Source);
        return kernel;
    }

    /// <summary>PTX whose conditional branches promise nothing about the other lanes.</summary>
    /// <exception cref="NotSupportedException">A conditional <c>bra.uni</c> has an unknown form.</exception>
    internal static string CorrectPtx(string source)
    {
        string corrected = ConditionalUniformBranch().Replace(source, "bra");
        return AnyConditionalUniformBranch().IsMatch(corrected)
            ? throw new NotSupportedException("unknown form of a conditional branch in ILGPU's PTX; this version of ILGPU is not supported")
            : corrected;
    }

    /// <summary>OpenCL C without contraction, whose barriers fence local and global memory.</summary>
    /// <exception cref="NotSupportedException">A barrier has an unknown form.</exception>
    internal static string CorrectOpenCl(string source)
    {
        string corrected = NoContraction + GlobalBarrier().Replace(source, Barrier);
        return corrected.Contains("work_group_barrier", StringComparison.Ordinal)
            ? throw new NotSupportedException("unknown form of a barrier in ILGPU's OpenCL C; this version of ILGPU is not supported")
            : corrected;
    }

    [GeneratedRegex(@"(?<=@!?%p\d+[ \t]+)bra\.uni\b")]
    private static partial Regex ConditionalUniformBranch();

    [GeneratedRegex(@"@[^;{}]*\bbra\s*\.\s*uni\b")]
    private static partial Regex AnyConditionalUniformBranch();

    [GeneratedRegex(@"\bwork_group_barrier\s*\(\s*CLK_GLOBAL_MEM_FENCE\s*\)")]
    private static partial Regex GlobalBarrier();

    // ILGPU offers no other access: the constructors of its kernels are internal too.
    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "<PTXAssembly>k__BackingField")]
    private static extern ref string SourceOf(PTXCompiledKernel kernel);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "<Source>k__BackingField")]
    private static extern ref string SourceOf(CLCompiledKernel kernel);
}
