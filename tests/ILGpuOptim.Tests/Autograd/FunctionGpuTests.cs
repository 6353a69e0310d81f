using ILGpuOptim.Compute;
using ILGpuOptim.Lab;
using ILGpuOptim.Ops;
using ILGpuOptim.Tests.Devices;

namespace ILGpuOptim.Tests.Autograd;

/// <summary>Applied functions and activations on a GPU. Stamped on each kind below.</summary>
public abstract class FunctionSuite(GpuDevice device)
{
    public static TheoryData<string> Names => [.. FunctionCases.All.Keys];

    public static TheoryData<string> Activations => ActivationTests.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public void FunctionsAgreeWithDoublePrecision(string name) => FunctionTests.AgreesWithReference(device, name);

    [Theory]
    [MemberData(nameof(Activations))]
    public void ActivationsAreTheirFormulas(string name) => ActivationTests.IsItsFormula(device, name);

    [Theory]
    [MemberData(nameof(Activations))]
    public void ProductsAreTheirParts(string name) => ActivationTests.ProductsAreTheirParts(device, name);

    [Theory]
    [MemberData(nameof(Activations))]
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
