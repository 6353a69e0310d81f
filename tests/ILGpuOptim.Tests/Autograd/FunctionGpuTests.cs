using ILGpuOptim.Compute;
using ILGpuOptim.Lab;
using ILGpuOptim.Ops;
using ILGpuOptim.Tests.Devices;

namespace ILGpuOptim.Tests.Autograd;

/// <summary>Applied functions of every layout on a GPU, and some activations fused into products. Stamped on each kind below.</summary>
public abstract class FunctionSuite(GpuDevice device)
{
    public static TheoryData<string> Names => [.. FunctionCases.All.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void FunctionsAgreeWithDoublePrecision(string name) => FunctionTests.AgreesWithReference(device, name);

    /// <summary>Fusion is the same for every activation, and each takes a dozen kernels: a piecewise one, and two of exponentials.</summary>
    [Theory]
    [InlineData("gelu_new")]
    [InlineData("silu")]
    [InlineData("relu2")]
    public void ProductsAreTheirParts(string name) => ActivationTests.ProductsAreTheirParts(device, name);
}

/// <summary>Every activation by itself on a GPU. Stamped on each kind below; not on both kinds of OpenCL kernels, which apply one rule alike.</summary>
public abstract class ActivationSuite(GpuDevice device)
{
    public static TheoryData<string> Names => ActivationTests.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public void ActivationsAreTheirFormulas(string name) => ActivationTests.IsItsFormula(device, name);

    [Theory]
    [MemberData(nameof(Names))]
    public void ChecksPass(string name)
    {
        Check check = FunctionChecks.Follows(name, device, FunctionRegistry.Find(name)!);
        Assert.True(check.Passes, $"{check.Name}: {check.Error:E2} of {check.Bound:E0}, {check.Note}");
    }
}

[Collection("gpu"), Trait("device", "opencl")]
public class OpenClFunctionTests() : FunctionSuite(Gpu.OpenCl());

[Collection("gpu"), Trait("device", "opencl")]
public class OpenClFunctionsWithKernelsOfGpus() : FunctionSuite(Gpu.OpenClWithKernelsOfGpus());

[Collection("gpu"), Trait("device", "cuda")]
public class CudaFunctionTests() : FunctionSuite(Gpu.Cuda());

[Collection("gpu"), Trait("device", "opencl")]
public class OpenClActivationTests() : ActivationSuite(Gpu.OpenCl());

[Collection("gpu"), Trait("device", "cuda")]
public class CudaActivationTests() : ActivationSuite(Gpu.Cuda());
