using ILGpuOptim.Compute;
using ILGpuOptim.Compute.Gpu;
using ILGpuOptim.Lab;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Devices;

/// <summary>What the source of every kernel contains and does not contain.</summary>
public class KernelSourceTests
{
    [Fact, Trait("speed", "slow")]
    public void NoConditionalBranchOfPtxIsMarkedUniform()
    {
        IReadOnlyCollection<KernelSource> kernels = All("ptx", asProcessor: false);
        Assert.Contains(kernels, kernel => kernel.Text.Contains("bra.uni", StringComparison.Ordinal));
        Assert.All(kernels, kernel => Assert.DoesNotMatch(@"@[^;\n]*\bbra\.uni", kernel.Text));
    }

    [Theory, Trait("speed", "slow")]
    [InlineData(false)]
    [InlineData(true)]
    public void OpenClFencesLocalMemoryAndNeedsNoDouble(bool asProcessor)
    {
        IReadOnlyCollection<KernelSource> kernels = All("opencl", asProcessor);
        Assert.Contains(kernels, kernel => kernel.Text.Contains("barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)", StringComparison.Ordinal));
        Assert.All(kernels, kernel =>
        {
            Assert.StartsWith("#pragma OPENCL FP_CONTRACT OFF\n", kernel.Text, StringComparison.Ordinal);
            Assert.DoesNotContain("work_group_barrier", kernel.Text, StringComparison.Ordinal);
            Assert.DoesNotMatch(@"\bbarrier\s*\((?!CLK_LOCAL_MEM_FENCE \| CLK_GLOBAL_MEM_FENCE\))", kernel.Text);
            Assert.DoesNotMatch(@"\bdouble\b", kernel.Text);
        });
    }

    [Theory]
    [InlineData("@%p2 bra.uni L_1;", "@%p2 bra L_1;")]
    [InlineData("\t@!%p12 bra.uni\tL_1;", "\t@!%p12 bra\tL_1;")]
    [InlineData("\tbra.uni L_1;", "\tbra.uni L_1;")]
    public void OnlyConditionalBranchesChange(string source, string expected) => Assert.Equal(expected, GpuSource.CorrectPtx(source));

    [Theory]
    [InlineData("@%q1 bra.uni L_1;")]
    [InlineData("@p bra.uni L_1;")]
    [InlineData("L_0:\n\t@ ! %p12\n\tbra.uni L_1;")]
    public void AConditionalBranchOfAnUnknownFormIsRefused(string source) => Assert.Throws<NotSupportedException>(() => GpuSource.CorrectPtx(source));

    [Fact]
    public void ABarrierOfAnUnknownFormIsRefused() =>
        Assert.Throws<NotSupportedException>(() => GpuSource.CorrectOpenCl("work_group_barrier(CLK_IMAGE_MEM_FENCE);"));

    [Fact]
    public void DownloadsFromARecorderAreZeros()
    {
        using var recorder = new KernelRecorder();
        Block block = recorder.Device.Pool.Rent(100);
        recorder.Device.Upload(Enumerable.Repeat(float.NaN, 100).ToArray(), block);
        var values = Enumerable.Repeat(1f, 100).ToArray();
        recorder.Device.Download(block, values);
        Assert.All(values, value => Assert.Equal(0, value));
        recorder.Device.Pool.Return(block);
    }

    /// <summary>The kernels of all models, general operations, products, attention and optimizers, with state in 8 bits as well.</summary>
    private static Dictionary<string, KernelSource>.ValueCollection All(string target, bool asProcessor)
    {
        var kernels = new Dictionary<string, KernelSource>();
        using var recorder = asProcessor ? KernelRecorder.ForProcessors() : new KernelRecorder();
        KernelListing.RecordModels(recorder);
        OperationListing.Record(recorder);
        recorder.RecordProducts();
        AttentionListing.Launch(recorder.Device);
        Compile();
        foreach (OptimizerEntry entry in Registry.Entries)
        {
            KernelListing.RecordUpdate(recorder, new OptimizerSettings { Name = entry.Name }, 24, 40);
            Compile();
        }

        KernelListing.RecordUpdate(recorder, new OptimizerSettings { Name = "adamw", StateType = StateStorage.Fp8 }, 512, 512);
        Compile();
        return kernels.Values;

        void Compile()
        {
            foreach (KernelSource kernel in recorder.Compile(target))
                kernels.TryAdd(kernel.Key, kernel);
        }
    }
}
