using ILGpuOptim.Compute;
using ILGpuOptim.Lab;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Tests.Devices;

/// <summary>What the kernels of NVIDIA's GPUs say, read without one.</summary>
public class PtxTests
{
    /// <summary>Rules compare with constants on either side; none may be answered as if NaN were the lesser or the greater.</summary>
    [Theory]
    [InlineData("lion")]
    [InlineData("came")]
    [InlineData("adafactor")]
    public void NoComparisonLetsNotANumberPass(string optimizer)
    {
        using var recorder = new KernelRecorder();
        KernelListing.RecordUpdate(recorder, new OptimizerSettings { Name = optimizer }, 24, 40);
        IReadOnlyList<KernelSource> kernels = recorder.Compile("ptx");
        Assert.Contains(kernels, kernel => kernel.Text.Contains("setp.lt.f32", StringComparison.Ordinal));
        Assert.All(kernels, kernel => Assert.DoesNotMatch(@"setp\.(lt|gt|le|ge)u\.f32", kernel.Text));
    }
}
