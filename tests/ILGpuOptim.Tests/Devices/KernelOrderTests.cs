using System.Reflection;
using ILGPU;
using ILGPU.Backends.PTX;
using ILGPU.Runtime;
using ILGpuOptim.Compute.Gpu;
using Regex = System.Text.RegularExpressions.Regex;
using RegexOptions = System.Text.RegularExpressions.RegexOptions;

namespace ILGpuOptim.Tests.Devices;

/// <summary>The order of memory accesses, tensor-core instructions and barriers in generated code is that of the source.</summary>
public class KernelOrderTests
{
    /// <summary>ILGPU's own placement moves one of the products behind the barrier.</summary>
    [Fact]
    public void TensorCoreInstructionsStayBeforeTheirBarrier() =>
        Assert.Equal(["cp.async.cg", "cp.async.commit_group", "cp.async.wait_group", "bar.sync", "ldmatrix", "ldmatrix", "mma.sync", "mma.sync", "bar.sync"], Order(nameof(Products)));

    private static List<string> Order(string name)
    {
        using var compiler = GpuCompiler.For("ptx", 80);
        MethodInfo kernel = typeof(KernelOrderTests).GetMethod(name, BindingFlags.Static | BindingFlags.NonPublic)!;
        string text = ((PTXCompiledKernel)compiler.Compile(kernel, [], default)).PTXAssembly;
        return [.. Regex.Matches(text, @"^\s*(bar\.sync|[ls][dt]\.shared|ldmatrix|mma\.sync|cp\.async\.(cg|commit_group|wait_group))", RegexOptions.Multiline).Select(match => match.Groups[1].Value)];
    }

    private static void Products(ArrayView<byte> factor, ArrayView<Float4> result, int rounds)
    {
        int shared = GpuTensorCores.SharedAddress(ref SharedMemory.Allocate<Float4>(64)[0]);
        long global = GpuTensorCores.GlobalAddress(ref factor[0]);
        Float4 first = default, second = default;
        for (int i = 0; i < rounds; i++)
        {
            GpuTensorCores.CopyAsync(shared + Group.IdxX * 16, global + Group.IdxX * 16, 16);
            GpuTensorCores.Commit();
            GpuTensorCores.Wait(0);
            Group.Barrier();
            Words4 a = GpuTensorCores.LoadMatrices(shared + Group.IdxX * 16), b = GpuTensorCores.LoadTransposed(shared + Group.IdxX * 16);
            first = GpuTensorCores.MultiplyBf16(first, a, b.A, b.B);
            second = GpuTensorCores.MultiplyTf32(second, a, b.C, b.D);
            Group.Barrier();
        }

        result[Group.IdxX] = new Float4(first.A, first.B, second.A, second.B);
    }
}
