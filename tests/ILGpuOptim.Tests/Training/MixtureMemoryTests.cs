using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Models;
using ILGpuOptim.Tests.Devices;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

/// <summary>The memory plan of mixtures of experts: exact on a processor.</summary>
public class MixtureMemoryTests
{
    private const int Vocabulary = 50;

    private static readonly MixtralConfig Mixtral = new()
    {
        VocabularySize = Vocabulary,
        HiddenSize = 24,
        IntermediateSize = 40,
        Layers = 2,
        Heads = 4,
        KeyHeads = 2,
        ContextLength = 32,
        ExpertCount = 5,
        ExpertsPerToken = 2,
        AddsRouterLoss = true,
        InitializerRange = 0.2f,
    };

    public static TheoryData<string> Kinds => ["mixtral", "one expert a token", "qwen3_moe", "layerwise", "recompute", "documents"];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void ThePlanIsExactOnAProcessor(string kind)
    {
        using var device = new CpuDevice(2);
        (MemoryPlan plan, long peak) = Measure(kind, device);
        Assert.Equal(peak, plan.Total);
    }

    /// <summary>A device that needs most workspace for products of 64 rows: a router may give an expert so many.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void ThePlanCountsTheMostWorkspaceOfAnyRouting(bool isRouted)
    {
        const int Rows = 256, Columns = 16, Inner = 8;
        using var cpu = new CpuDevice(1);
        using var like = new DistantDevice(cpu) { Workspace = product => (product.TransposeA ? product.K : product.M) == 64 ? 4 * 64 * Columns : 0 };
        using var dry = new DryDevice(like) { HasRoutedProducts = isRouted };
        Block x = dry.Pool.Rent(Rows * Inner), weight = dry.Pool.Rent(Inner * Columns), y = dry.Pool.Rent(Rows * Columns);
        foreach (GemmArguments product in (GemmArguments[])[new(x, weight, y, Rows, Columns, Inner), new(x, y, weight, Inner, Columns, Rows) { TransposeA = true }])
        {
            dry.Pool.ResetPeak();
            long before = dry.Pool.PeakBytes;
            dry.Gemm([product]);
            Assert.Equal(isRouted ? 4 * 64 * Columns * sizeof(float) : 0, dry.Pool.PeakBytes - before);
        }
    }

    /// <summary>The plan of a short run, and the most bytes that the run holds beyond what the device, which tests may share, held before.</summary>
    internal static (MemoryPlan Plan, long Peak) Measure(string kind, Device device)
    {
        long before = device.Pool.UsedBytes;
        var settings = new TrainingSettings { Block = 32, Batch = 4, Steps = 6, Warmup = 0, Validation = 0, EvalBatches = 0, Optimizer = new() { LearningRate = 0.01 } };
        ModelConfig config = kind == "qwen3_moe" ? new Qwen3MoeConfig
        {
            VocabularySize = Vocabulary,
            HiddenSize = 24,
            IntermediateSize = 32,
            ExpertIntermediateSize = 16,
            Layers = 2,
            Heads = 4,
            KeyHeads = 2,
            HeadSize = 6,
            ContextLength = 32,
            ExpertCount = 7,
            ExpertsPerToken = 3,
            InitializerRange = 0.2f,
        } : kind == "one expert a token" ? Mixtral with { ExpertsPerToken = 1 } : Mixtral;
        settings = kind switch
        {
            "layerwise" => settings with { Layerwise = true, Clip = 0 },
            "recompute" => settings with { Recompute = true },
            "documents" => settings with { Documents = true },
            _ => settings,
        };
        MemoryPlan plan = MemoryPlan.Of(config, settings, device);
        var random = new Random(1);
        int[] tokens = [.. Enumerable.Range(0, 2000).Select(_ => random.Next(Vocabulary))];
        using Dataset data = Dataset.FromTokens(TokenSequence.From(tokens), Vocabulary, null, 0, "tokens", DocumentEnds.One(tokens.Length));
        using LanguageModel model = TrainedModel.Create(config, settings, device);
        using var trainer = new Trainer(device, model, data, settings);
        device.Pool.ResetPeak();
        for (int step = 0; step < settings.Steps; step++)
            trainer.Step();
        trainer.Settle();
        return (plan, device.Pool.PeakBytes - before);
    }
}

/// <summary>
/// The memory plan of mixtures of experts estimates what an OpenCL device allocates. It is no bound: with most experts idle, as in the plan's run, a
/// workspace may coincide with fewer gradients. The largest excess seen is 1,536 bytes of 1,112,832.
/// </summary>
[Collection("gpu"), Trait("device", "opencl")]
public class OpenClMixtureMemoryTests
{
    [Theory]
    [MemberData(nameof(MixtureMemoryTests.Kinds), MemberType = typeof(MixtureMemoryTests))]
    public void ThePlanEstimatesAnOpenClDevice(string kind)
    {
        foreach (GpuDevice device in (GpuDevice[])[Gpu.OpenCl(), Gpu.OpenClWithKernelsOfGpus()])
        {
            (MemoryPlan plan, long peak) = MixtureMemoryTests.Measure(kind, device);
            Assert.InRange(peak, plan.Total / 2, plan.Total + plan.Total / 500);
        }
    }
}
