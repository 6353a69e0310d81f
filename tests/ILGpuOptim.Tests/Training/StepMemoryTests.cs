using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Tests.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

/// <summary>Whole training steps after the first take all device memory from the pool, and next to nothing from the managed heap.</summary>
public class StepMemoryTests
{
    public static TheoryData<string> Optimizers => [.. Registry.Entries.Select(entry => entry.Name)];

    [Theory]
    [MemberData(nameof(Optimizers))]
    public void StepsAllocateNothing(string optimizer)
    {
        var (small, smallBytes) = Measure(optimizer, hiddenSize: 16, block: 8);
        var (large, largeBytes) = Measure(optimizer, hiddenSize: 64, block: 32);
        Assert.Equal((0, 0), (small, large));

        // What little a step allocates are records of operations: as much for a model of sixteen times the numbers.
        Assert.True(largeBytes < 32 * 1024 && largeBytes <= smallBytes + 1024, $"{optimizer}: {smallBytes} and {largeBytes} bytes a step");
    }

    /// <summary>Packed and padded batches take their arrays again, too: a batch of four times the tokens allocates no more.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void StepsOnDocumentsAllocateNothing(bool pads)
    {
        TrainingSettings settings = new() { Documents = true, Pad = pads };
        var (small, smallBytes) = Measure("adamw", hiddenSize: 16, block: 128, settings);
        var (large, largeBytes) = Measure("adamw", hiddenSize: 16, block: 512, settings);
        Assert.Equal((0, 0), (small, large));
        Assert.True(largeBytes < 32 * 1024 && largeBytes <= smallBytes + 1024, $"{smallBytes} and {largeBytes} bytes a step");
    }

    /// <summary>Activations in bf16 take no more than records of operations either.</summary>
    [Fact]
    public void StepsInBf16AllocateNothing()
    {
        TrainingSettings settings = new() { Precision = Precision.BF16, Dropout = 0.1 };
        var (small, smallBytes) = Measure("adamw", hiddenSize: 16, block: 8, settings);
        var (large, largeBytes) = Measure("adamw", hiddenSize: 64, block: 32, settings);
        Assert.Equal((0, 0), (small, large));
        Assert.True(largeBytes < 32 * 1024 && largeBytes <= smallBytes + 1024, $"{smallBytes} and {largeBytes} bytes a step");
    }

    private static (long Allocations, long Bytes) Measure(string optimizer, int hiddenSize, int block, TrainingSettings? documents = null)
    {
        using var device = new CpuDevice(2);
        var tokenizer = CharTokenizer.From(DefaultCorpus.Text);
        Dataset data = Dataset.FromDocuments(DefaultCorpus.Text[..20_000], [.. Enumerable.Range(1, 500).Select(i => 40 * i)], tokenizer, 0.1, "text");
        var config = new Gpt2Config { VocabularySize = data.VocabularySize, ContextLength = block, Layers = 2, Heads = 2, HiddenSize = hiddenSize };
        using LanguageModel model = config.Create(new Initializer(device, 1));

        // Bases are renewed, and curvatures estimated, outside the measured steps.
        TrainingSettings settings = (documents ?? new()) with { Steps = 100, Block = block, Batch = 2, Optimizer = LowRankOptimizers.WithRank(new OptimizerSettings { Name = optimizer, LearningRate = 1e-3 }.WithDefault("precondition_frequency", "100").WithDefault("curvature_interval", "100"), 4) };
        using var trainer = new Trainer(device, model, data, settings);
        const int Steps = 10;
        for (int i = 0; i < 5; i++)
            trainer.Step();
        long allocations = device.Pool.Allocations, least = long.MaxValue;

        // A garbage collection empties the shared pool of arrays, which then allocates some again: the least of three counts is that of the steps.
        for (int round = 0; round < 3; round++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < Steps; i++)
                trainer.Step();
            least = Math.Min(least, (GC.GetAllocatedBytesForCurrentThread() - before) / Steps);
        }

        return (device.Pool.Allocations - allocations, least);
    }
}
