using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

public sealed class FineTuningTests : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly CpuDevice device = new(2);

    public void Dispose()
    {
        device.Dispose();
        folder.Dispose();
    }

    [Theory]
    [InlineData("gpt2-tiny", false)]
    [InlineData("llama-tiny", true)]
    [InlineData("llama-tiny", true, true)]
    [InlineData("gpt2-tiny", true, true)]
    [InlineData("bert-tiny", true)]
    [InlineData("t5-tiny", false)]
    [InlineData("t5v11-tiny", true)]
    public void ATrainedModelGoesOnLearningAndResumesExactly(string model, bool lora, bool dora = false)
    {
        TrainingSettings settings = Settings(Goldens.Folder("models", model)) with { Lora = lora ? new LoraOptions { Rank = 4, Dora = dora, Rslora = dora } : null };
        double[] whole = Losses(Run("whole", settings, settings.Steps));
        Assert.True(whole[^1] < whole[0] - 0.1, $"{whole[0]} to {whole[^1]}");
        Run("parts", settings, 20);
        using (TrainingRun run = TrainingRun.Resume(folder["parts"], _ => device))
            run.Train(CancellationToken.None);
        Assert.Equal(whole, Losses(folder["parts"]));
        Assert.Equal(Bytes("whole", 40, Safetensors.FileName), Bytes("parts", 40, Safetensors.FileName));
        Assert.Equal(lora, AdapterFiles.Exist(Checkpoint("whole", 40)));
        if (!lora)
            return;
        Assert.Equal(Bytes("whole", 40, AdapterFiles.Weights), Bytes("parts", 40, AdapterFiles.Weights));

        // The frozen weights are the old ones; loading merges the adapters.
        using Safetensors before = Safetensors.Open(Goldens.Folder("models", model)), after = Safetensors.Open(Checkpoint("whole", 40));
        Assert.All(before.Tensors.Keys, name => Assert.Equal(before.ReadF32(name), after.ReadF32(name)));
        using LanguageModel merged = ModelFiles.Load(Checkpoint("whole", 40), device);
        Assert.Empty(merged.Adapters);
        Assert.Contains(merged.Parameters, parameter => !parameter.ToArray().SequenceEqual(before.ReadF32(parameter.Name)));
    }

    [Fact]
    public void FrozenPartsStayAndFactorsSlowOthers()
    {
        TrainingSettings settings = Settings(Goldens.Folder("models", "gpt2-tiny")) with
        {
            Steps = 3,
            Freeze = ["wte*", "h.0.*"],
            Optimizer = new OptimizerSettings { LearningRate = 1e-2, LearningRateFor = [new RateFactor("h.1.mlp*", 0), new RateFactor("*ln_f*", 0.1)] },
        };
        Run("run", settings, 3);
        using Safetensors before = Safetensors.Open(Goldens.Folder("models", "gpt2-tiny")), after = Safetensors.Open(Checkpoint("run", 3));
        foreach (string name in before.Tensors.Keys)
        {
            bool stays = name.StartsWith("wte", StringComparison.Ordinal) || name.StartsWith("h.0.", StringComparison.Ordinal) || name.StartsWith("h.1.mlp", StringComparison.Ordinal);
            float moved = before.ReadF32(name).Zip(after.ReadF32(name), (x, y) => MathF.Abs(x - y)).Max();
            Assert.True(stays ? moved == 0 : name.StartsWith("ln_f", StringComparison.Ordinal) ? moved is > 1e-5f and < 4e-3f : moved > 4e-3f, $"{name} moved by {moved}");
        }
    }

    [Fact]
    public void MistakesAreNamed()
    {
        string golden = Goldens.Folder("models", "gpt2-tiny");
        TrainingSettings settings = Settings(golden);
        Assert.Contains("--freeze nothing*: the model has no such parameter", Refused(settings with { Freeze = ["nothing*"] }), StringComparison.Ordinal);
        Assert.Contains("nothing is left to train", Refused(settings with { Freeze = ["*"] }), StringComparison.Ordinal);
        Assert.Contains("--lr-for nothing*=2", Refused(settings with { Optimizer = new() { LearningRateFor = [new("nothing*", 2)] } }), StringComparison.Ordinal);
        Assert.Contains("use at most that", Refused(settings with { Block = 1000 }), StringComparison.Ordinal);
        Assert.Contains("its own sizes", Refused(settings with { Layers = 3 }), StringComparison.Ordinal);
        Assert.Contains("no tokenizer beside the model", Refused(settings with { Data = [] }), StringComparison.Ordinal);
        TokenFile.Write(folder["large.bin"], [.. Enumerable.Range(0, 500).Select(i => i % 200)]);
        Assert.Contains("the tokens reach 199, but the model has a vocabulary of", Refused(settings with { Data = [folder["large.bin"]] }), StringComparison.Ordinal);
    }

    [Fact]
    public void ARunOfTextGoesOnWithItsTokenizer()
    {
        TrainingSettings first = Presets.Find("tiny") with { Steps = 2, EvalBatches = 1 };
        Run("first", first, 2);
        TrainingSettings second = Presets.Find("default") with { From = TrainingRun.ModelFolder(folder["first"]), Block = 16, Batch = 2, Steps = 2, EvalBatches = 1 };
        Run("second", second, 2);
        Assert.Equal(Bytes("first", 2, Tokenizers.FileName), Bytes("second", 2, Tokenizers.FileName));
    }

    private TrainingSettings Settings(string from)
    {
        string data = folder["tokens.bin"];
        if (!File.Exists(data))
            TokenFile.Write(data, [.. Enumerable.Range(0, 1000).Select(i => 5 + i * i % 23)]);
        return new TrainingSettings
        {
            From = from,
            Data = [data],
            Block = 16,
            Batch = 4,
            Steps = 40,
            Warmup = 5,
            EvalInterval = 20,
            EvalBatches = 1,
            CheckpointInterval = 20,
            Optimizer = new OptimizerSettings { LearningRate = 1e-2 },
        };
    }

    private string Run(string name, TrainingSettings settings, int until)
    {
        using TrainingRun run = TrainingRun.Begin(folder[name], settings, device);
        using var stop = new CancellationTokenSource();
        run.Stepped = result =>
        {
            if (result.Step == until)
                stop.Cancel();
        };
        run.Train(stop.Token);
        return folder[name];
    }

    private string Refused(TrainingSettings settings) => Assert.ThrowsAny<UserException>(() => TrainingRun.Begin(folder[$"refused-{Guid.NewGuid()}"], settings, device)).InFlags();

    private string Checkpoint(string run, int step) => Path.Combine(folder[run], "checkpoints", $"step-{step:D7}");

    private byte[] Bytes(string run, int step, string file) => File.ReadAllBytes(Path.Combine(Checkpoint(run, step), file));

    private static double[] Losses(string run) =>
        [.. File.ReadLines(Path.Combine(run, TrainingRun.MetricsFile)).Select(line => System.Text.Json.JsonDocument.Parse(line).RootElement).Where(line => line.TryGetProperty("loss", out _)).Select(line => line.GetProperty("loss").GetDouble())];
}
