using System.Text.Json;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Tests.Cli;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

/// <summary>The exponential moving average of the weights.</summary>
public sealed class WeightAverageTests : IDisposable
{
    private static readonly TrainingSettings Tiny = Presets.Find("tiny") with { Steps = 8, EvalInterval = 4, EvalBatches = 1, Ema = 0.3, Optimizer = new() { LearningRate = 1e-2 }, Warmup = 0, Schedule = ScheduleKind.Constant, Dropout = 0.1, CheckpointInterval = 4 };

    private readonly TemporaryFolder folder = new();
    private readonly CpuDevice device = new(1);

    public void Dispose()
    {
        device.Dispose();
        folder.Dispose();
    }

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public static TheoryData<ParameterStorage, bool> Choices => new(from storage in Enum.GetValues<ParameterStorage>() from layerwise in (bool[])[false, true] select (storage, layerwise));

    /// <summary>After every update it is what the weights make it in double precision, and losses and weights are those without it.</summary>
    [Theory]
    [MemberData(nameof(Choices))]
    public void FollowsTheWeightsWithItsWarmUp(ParameterStorage storage, bool layerwise)
    {
        TrainingSettings settings = Tiny with { ParameterType = storage, Layerwise = layerwise, Clip = layerwise ? 0 : 1 };
        using Dataset data = TrainingRun.LoadData(settings);
        ModelConfig config = TrainedModel.Configuration(settings, data);
        using LanguageModel model = TrainedModel.Create(config, settings, device), plain = TrainedModel.Create(config, settings, device);
        using var trainer = new Trainer(device, model, data, settings);
        using var without = new Trainer(device, plain, data, settings with { Ema = 0 });
        double[] expected = [.. Values(model)];
        for (int n = 0; n < 6; n++)
        {
            Assert.Equal(without.Step().Loss, trainer.Step().Loss);
            float[] weights = Values(model);
            double decay = Math.Min(0.3, (1.0 + n) / (10 + n));
            for (int i = 0; i < expected.Length; i++)
                expected[i] += (1 - decay) * (weights[i] - expected[i]);
            using (trainer.Average!.Use())
            {
                Assert.Equal(expected, [.. Values(model)], (a, b) => Math.Abs(a - b) < 1e-6);
                Assert.Null(trainer.Average.Use());
            }

            Assert.Equal(weights, Values(model));
            Assert.Equal(weights, Values(plain));
        }

        // Validation uses it: that of a model which has the average as its weights.
        using LanguageModel copy = TrainedModel.Create(config, settings with { ParameterType = ParameterStorage.F32 }, device);
        using (trainer.Average!.Use())
        {
            foreach ((Parameter target, Parameter source) in copy.Parameters.Zip(model.Parameters))
                target.Load(source.ToArray());
        }

        using var other = new Trainer(device, copy, data, settings with { Ema = 0, ParameterType = ParameterStorage.F32 });
        Assert.Equal(other.Validate(2), trainer.Validate(2));
        Assert.NotEqual(without.Validate(2), trainer.Validate(2));
    }

    [Theory]
    [MemberData(nameof(Choices))]
    public void ThePlanIsExact(ParameterStorage storage, bool layerwise)
    {
        TrainingSettings settings = Tiny with { ParameterType = storage, Layerwise = layerwise, Clip = layerwise ? 0 : 1 };
        using Dataset data = TrainingRun.LoadData(settings);
        ModelConfig config = TrainedModel.Configuration(settings, data);
        MemoryPlan plan = MemoryPlan.Of(config, settings), plain = MemoryPlan.Of(config, settings with { Ema = 0 });
        Assert.Equal((plain.Total + plan.Averages, plain.Activations), (plan.Total, plan.Activations));
        using LanguageModel model = TrainedModel.Create(config, settings, device);
        Assert.Equal(model.Parameters.Sum(parameter => MemoryPool.PersistentBytes(4 * parameter.Length)), plan.Averages);
        using var trainer = new Trainer(device, model, data, settings);
        device.Pool.ResetPeak();
        trainer.Step();
        trainer.Step();
        long allocations = device.Pool.Allocations;
        trainer.Step();
        Assert.Equal((plan.Total, allocations), (device.Pool.PeakBytes, device.Pool.Allocations));
        trainer.Validate(1);
        Assert.Equal(plan.Total, device.Pool.PeakBytes);
    }

    [Theory]
    [InlineData(ParameterStorage.F32)]
    [InlineData(ParameterStorage.Int8)]
    public void AResumedRunHasTheSameAverage(ParameterStorage storage)
    {
        TrainingSettings settings = Tiny with { ParameterType = storage };
        using (TrainingRun run = TrainingRun.Begin(folder["straight"], settings, device))
            run.Train(Stop);
        using (TrainingRun run = TrainingRun.Begin(folder["parts"], settings with { Steps = 4 }, device))
            run.Train(Stop);
        using (TrainingRun run = TrainingRun.Resume(folder["parts"], _ => device, saved => saved with { Steps = 8 }))
            run.Train(Stop);
        Assert.Equal(MetricLines.Losses(folder["straight"]), MetricLines.Losses(folder["parts"]));
        foreach (string file in (string[])["ema/model.safetensors", "ema/config.json", "model.safetensors", "checkpoint.json"])
            Assert.Equal(File.ReadAllBytes(folder[$"straight/checkpoints/step-0000008/{file}"]), File.ReadAllBytes(folder[$"parts/checkpoints/step-0000008/{file}"]));
    }

    /// <summary>A run that begins to average later begins with the weights of that time.</summary>
    [Fact]
    public void CommandsReadTheAverageUnlessAskedForTheWeights()
    {
        using (TrainingRun run = TrainingRun.Begin(folder["run"], Tiny with { Ema = 0, Steps = 4 }, device))
            run.Train(Stop);
        string first = folder["run/checkpoints/step-0000004"], last = folder["run/checkpoints/step-0000008"];
        Assert.Equal(first, TrainingRun.ModelFolder(folder["run"]));
        Assert.Contains("--weights ema: ", Assert.Throws<UserException>(() => TrainingRun.ModelFolder(first, WeightChoice.Ema)).InFlags(), StringComparison.Ordinal);
        using (TrainingRun run = TrainingRun.Resume(folder["run"], _ => device, saved => saved with { Steps = 8, Ema = 0.3 }))
        {
            run.Train(Stop);
            using LanguageModel stored = ModelFiles.Load(TrainingRun.ModelFolder(folder["run"]), device), raw = ModelFiles.Load(TrainingRun.ModelFolder(folder["run"], WeightChoice.Raw), device);
            Assert.Equal(Values(run.Trainer.Model), Values(raw));
            using (run.Trainer.Average!.Use())
                Assert.Equal(Values(run.Trainer.Model), Values(stored));
        }

        Assert.Equal((last, Path.Combine(last, "ema")), (TrainingRun.ModelFolder(last, WeightChoice.Raw), TrainingRun.ModelFolder(last)));
        Assert.Equal(4, JsonDocument.Parse(File.ReadAllText(Path.Combine(last, "checkpoint.json"))).RootElement.GetProperty("ema_updates").GetInt32());
        double chosen = Loss(folder["run"]);
        Assert.Equal(chosen, Loss(last, "--weights", "ema"));
        Assert.NotEqual(chosen, Loss(folder["run"], "--weights", "raw"));

        // A reader of the average keeps the whole checkpoint.
        using (ModelSource.Open(folder["run"]))
        {
            Checkpoint.Remove(last);
            Assert.True(Directory.Exists(last));
        }

        Checkpoint.Remove(last);
        Assert.False(Directory.Exists(last));
    }

    /// <summary>The average of adapters is one of adapters, beside the model that they adapt.</summary>
    [Fact]
    public void AdaptersAreAveraged()
    {
        using (TrainingRun run = TrainingRun.Begin(folder["base"], Tiny with { Ema = 0, Steps = 2 }, device))
            run.Train(Stop);
        TrainingSettings settings = Tiny with { From = TrainingRun.ModelFolder(folder["base"]), Layers = null, Heads = null, HiddenSize = null, Dropout = null, Lora = new LoraOptions { Rank = 2 } };
        using (TrainingRun run = TrainingRun.Begin(folder["lora"], settings with { Steps = 4 }, device))
            run.Train(Stop);
        string average = folder["lora/checkpoints/step-0000008/ema"];
        float[] merged;
        using (TrainingRun run = TrainingRun.Resume(folder["lora"], _ => device, saved => saved with { Steps = 8 }))
        {
            run.Train(Stop);
            Assert.Equal(["adapter_config.json", "adapter_model.safetensors", "ilgpuoptim-tokenizer.json"], Directory.GetFiles(average).Select(Path.GetFileName).Order());
            run.MergeAdapters();
            merged = Values(run.Trainer.Model);
            Assert.NotNull(run.Sample(5));
        }

        using (TrainingRun run = TrainingRun.Begin(folder["straight"], settings, device))
            run.Train(Stop);
        Assert.Equal(File.ReadAllBytes(Path.Combine(average, "adapter_model.safetensors")), File.ReadAllBytes(folder["straight/checkpoints/step-0000008/ema/adapter_model.safetensors"]));
        using LanguageModel loaded = ModelFiles.Load(TrainingRun.ModelFolder(folder["lora"]), device), raw = ModelFiles.Load(TrainingRun.ModelFolder(folder["lora"], WeightChoice.Raw), device);
        Assert.Equal(merged, Values(loaded));
        Assert.NotEqual(merged, Values(raw));
        Assert.Equal(0, Tool.Run("info", folder["lora"]).Code);
    }

    private static double Loss(string model, params string[] flags) => JsonDocument.Parse(Tool.Run(["eval", model, "--json", .. flags]).Output).RootElement.GetProperty("loss").GetDouble();

    private static float[] Values(LanguageModel model) => [.. model.Parameters.SelectMany(parameter => parameter.ToArray())];
}
