using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

/// <summary>What changes about a run, or is cut to what is possible, is kept and said.</summary>
public class ChangedSettingsTests
{
    [Fact]
    public void AResumedRunKeepsItsNewSettingsAndTheirHistory()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        string settings = folder["run", TrainingRun.SettingsFile];
        using (TrainingRun run = TrainingRun.Begin(folder["run"], Settings(folder), device))
            Assert.True(run.Train(CancellationToken.None));
        Assert.Empty(RunRecord.Load(settings).History);
        string first = File.ReadAllText(settings);
        using (TrainingRun run = TrainingRun.Resume(folder["run"], _ => device))
            Assert.DoesNotContain(run.Notes, note => note.Contains("changed", StringComparison.Ordinal));
        Assert.Equal(first, File.ReadAllText(settings));
        using (TrainingRun run = TrainingRun.Resume(folder["run"], _ => device, saved => saved with { Steps = 6, Optimizer = saved.Optimizer with { LearningRate = 0.002 } }))
        {
            Assert.Contains("settings changed at step 4: steps: 4 → 6; optimizer.learning_rate: 0.001 → 0.002", run.Notes);
            Assert.True(run.Train(CancellationToken.None));
        }

        using (TrainingRun run = TrainingRun.Resume(folder["run"], _ => device))
            Assert.Equal((6, 0.002, 6L), (run.Settings.Steps, run.Settings.Optimizer.LearningRate, run.Trainer.StepNumber));
        SettingsChange change = Assert.Single(RunRecord.Load(settings).History);
        Assert.Equal(4, change.Step);
        Assert.Equal(["steps: 4 → 6", "optimizer.learning_rate: 0.001 → 0.002"], change.Changes);

        // The file serves as settings of another run, too.
        Assert.Equal(6, TrainingSettings.Load(settings).Steps);
    }

    [Fact]
    public void ARunNeitherGoesBackNorChangesItsModel()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        string path = folder["run", TrainingRun.SettingsFile];
        using (TrainingRun run = TrainingRun.Begin(folder["run"], Settings(folder), device))
            Assert.True(run.Train(CancellationToken.None));
        string before = File.ReadAllText(path);
        string fewer = Assert.Throws<UserException>(() => TrainingRun.Resume(folder["run"], _ => device, saved => saved with { Steps = 3 })).InFlags();
        Assert.Equal($"--steps 3: the run {folder["run"]} is at step 4 already; give at least that many", fewer);
        string other = Assert.Throws<UserException>(() => TrainingRun.Resume(folder["run"], _ => device, saved => saved with { Layers = saved.Layers + 1 })).InFlags();
        Assert.Contains("leave out --model, --layers", other, StringComparison.Ordinal);
        Assert.Equal(before, File.ReadAllText(path));
    }

    /// <summary>A setting that changes the optimizer's state does not fit the checkpoint.</summary>
    [Theory]
    [InlineData("adamw", "adamw:ams_grad=true", "there is no wte.weight.max_exp_avg_sq, which the optimizer's settings need; resume with the settings of the run")]
    [InlineData("adamw", "adamw+growth-limit", "there is no wte.weight.growth_limit_norm, which the optimizer's settings need")]
    [InlineData("adamw", "adamw:state_type=bf16", "bytes), but the optimizer's settings make it")]
    [InlineData("apollo:rank=3:projection_type=left:scale_type=tensor", "apollo:rank=3:projection_type=right:scale_type=tensor", "h.0.attn.c_proj.weight.exp_avg is 3×12 (144 bytes), but the optimizer's settings make it 12×3 (144 bytes)")]
    public void OtherStateIsRefused(string begun, string resumed, string message)
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        TrainingSettings settings = Settings(folder);
        OptimizerSettings optimizer = settings.Optimizer.For(begun);
        if (optimizer.Name == "apollo")
            optimizer = optimizer with { LowRank = ["*attn.c_proj*"] };
        using (TrainingRun run = TrainingRun.Begin(folder["run"], settings with { Optimizer = optimizer }, device))
            Assert.True(run.Train(CancellationToken.None));
        string text = Assert.ThrowsAny<UserException>(() => TrainingRun.Resume(folder["run"], _ => device, saved => saved with { Optimizer = saved.Optimizer.For(resumed) })).Message;
        Assert.Contains(message, text, StringComparison.Ordinal);
    }

    [Fact]
    public void TokensTakeNoTokenizer()
    {
        using var folder = new TemporaryFolder();
        Assert.Equal(4, TokensOf("char").Validation.Length);
        string message = Assert.Throws<UserException>(() => TokensOf("byte")).InFlags();
        Assert.Contains("--tokenizer byte: ", message, StringComparison.Ordinal);
        Assert.Contains("leave --tokenizer out", message, StringComparison.Ordinal);
        Assert.Contains("is created from a text by train", Assert.Throws<UserException>(() => Tokenizers.Open("char")).Message, StringComparison.Ordinal);

        Dataset TokensOf(string tokenizer)
        {
            foreach (string name in new[] { "train.bin", "val.bin" })
                File.WriteAllBytes(folder[name], [1, 0, 2, 0, 3, 0, 4, 0]);
            return TrainingRun.LoadData(new TrainingSettings { Data = [folder.Path], Tokenizer = tokenizer });
        }
    }

    [Theory]
    [InlineData("longer")]
    [InlineData("other")]
    public void OtherDataIsRefusedUnlessAllowed(string kind)
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        using (TrainingRun run = TrainingRun.Begin(folder["run"], Settings(folder), device))
            Assert.True(run.Train(CancellationToken.None));
        string text = File.ReadAllText(folder["text.txt"]), before = File.ReadAllText(folder["run", TrainingRun.SettingsFile]);
        File.WriteAllText(folder["text.txt"], kind == "longer" ? text + text[..50] : string.Concat(text.Skip(1).Append(text[0])));
        string message = Assert.Throws<UserException>(() => TrainingRun.Resume(folder["run"], _ => device, saved => saved with { Steps = 9 })).InFlags();
        Assert.Contains(kind == "longer" ? "3,600 tokens to train on and 400 to validate with before, 3,645 and 405 now" : "as before, but other tokens", message, StringComparison.Ordinal);
        Assert.Contains("--allow-data-change", message, StringComparison.Ordinal);
        Assert.Equal(before, File.ReadAllText(folder["run", TrainingRun.SettingsFile]));
        using (TrainingRun run = TrainingRun.Resume(folder["run"], _ => device, allowsOtherData: true))
            Assert.Contains(run.Notes, note => note.StartsWith("settings changed at step 4: the data:", StringComparison.Ordinal));
        Assert.Single(RunRecord.Load(folder["run", TrainingRun.SettingsFile]).History);
        using (TrainingRun run = TrainingRun.Resume(folder["run"], _ => device))
            Assert.Equal(4, run.Trainer.StepNumber);
        File.WriteAllText(folder["text.txt"], text);
        Assert.Throws<UserException>(() => TrainingRun.Resume(folder["run"], _ => device));
    }

    /// <summary>What counts is the text, not the name of its file.</summary>
    [Fact]
    public void DataMayMove()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        using (TrainingRun run = TrainingRun.Begin(folder["run"], Settings(folder), device))
            Assert.True(run.Train(CancellationToken.None));
        File.Move(folder["text.txt"], folder["moved.txt"]);
        using TrainingRun resumed = TrainingRun.Resume(folder["run"], _ => device, saved => saved with { Data = [folder["moved.txt"]] });
        Assert.Contains("data[0]: ", Assert.Single(RunRecord.Load(folder["run", TrainingRun.SettingsFile]).History).Changes[0], StringComparison.Ordinal);
    }

    [Fact]
    public void AFailedStartLeavesNoFolder()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        TrainingSettings settings = Settings(folder);
        foreach (TrainingSettings wrong in (TrainingSettings[])[settings with { Block = 100_000 }, settings with { Optimizer = settings.Optimizer with { NoDecay = ["zzz*"] } }, settings with { Clip = double.NaN }])
            Assert.ThrowsAny<UserException>(() => TrainingRun.Begin(folder["run"], wrong, device));
        Assert.False(Directory.Exists(folder["run"]));
    }

    [Theory]
    [InlineData("apollo", "nothing*", true)]
    [InlineData("apollo", "*bias", true)]
    [InlineData("galore", "*attn*", false)]
    public void LowRankPatternsMustNameMatrices(string optimizer, string pattern, bool isRefused)
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        TrainingSettings settings = Settings(folder) with { Optimizer = new OptimizerSettings { Name = optimizer, LowRank = [pattern] } };
        if (!isRefused)
        {
            TrainingRun.Begin(folder["run"], settings, device).Dispose();
            return;
        }

        string message = Assert.Throws<UserException>(() => TrainingRun.Begin(folder["run"], settings, device)).InFlags();
        Assert.Contains($"--low-rank {pattern}: the model has no such matrix; there are wte.weight, wpe.weight, h.*.attn.c_attn.weight", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("galore", 12)]
    [InlineData("apollo", 12)]
    [InlineData("fira", 12)]
    [InlineData("dion", 12)]
    public void ARankAboveTheMatrixIsCut(string optimizer, int width)
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        TrainingSettings settings = Settings(folder);
        using TrainingRun run = TrainingRun.Begin(folder["run"], settings with { Optimizer = new OptimizerSettings { Name = optimizer }.With("rank", 1000) }, device);
        Assert.Contains($"rank 1000 exceeds the short side of 4 matrices, such as h.0.attn.c_attn.weight; it is reduced to {width}", run.Notes);
        using TrainingRun exact = TrainingRun.Begin(folder["exact"], settings with { Optimizer = new OptimizerSettings { Name = optimizer }.With("rank", width) }, device);
        Assert.DoesNotContain(exact.Notes, note => note.Contains("exceeds", StringComparison.Ordinal));
        Assert.Equal(exact.Trainer.Optimizer.StateBytes, run.Trainer.Optimizer.StateBytes);
        Assert.Equal(exact.Trainer.Step().GradientNorm, run.Trainer.Step().GradientNorm);
    }

    [Fact]
    public void AnAdaptersRankAboveTheMatrixIsCut()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        using TrainingRun run = TrainingRun.Begin(folder["run"], Settings(folder) with { Lora = new LoraOptions { Rank = 1000 } }, device);
        Assert.Contains("LoRA rank 1000 exceeds the short side of every adapted matrix; it is reduced to 12", run.Notes);
        Assert.All(run.Trainer.Model.Adapters, adapter => Assert.Equal(12, adapter.Options.Rank));
    }

    [Theory]
    [InlineData("schedulefree-adamw", "warmup_steps")]
    [InlineData("ademamix", "alpha_warmup")]
    public void AWarmUpOfTheOptimizerLongerThanTheRunIsNoted(string optimizer, string option)
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        TrainingSettings settings = Settings(folder);
        using TrainingRun run = TrainingRun.Begin(folder["run"], settings with { Optimizer = new OptimizerSettings { Name = optimizer }.With(option, 5) }, device);
        Assert.Contains($"{option} 5 is longer than the run of 4 steps, which ends within it", run.Notes);
        using TrainingRun whole = TrainingRun.Begin(folder["whole"], settings with { Optimizer = new OptimizerSettings { Name = optimizer }.With(option, 4) }, device);
        Assert.DoesNotContain(whole.Notes, note => note.Contains(option, StringComparison.Ordinal));
    }

    [Fact]
    public void AWarmUpLongerThanTheRunIsShortened()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        using TrainingRun run = TrainingRun.Begin(folder["run"], Settings(folder) with { Warmup = 100 }, device);
        Assert.Contains("warm-up of 100 steps is longer than the run; it is shortened to 4", run.Notes);
        Assert.Equal(0.001 / 5, run.Trainer.Step().LearningRate, 1e-12);
    }

    [Fact]
    public void FormerNamesOfSettingsAreStillRead()
    {
        TrainingSettings settings = TrainingSettings.Parse("""{"channels": 48, "optimizer": {"state_type": "int8"}}""");
        Assert.Equal((48, StateStorage.Fp8), (settings.HiddenSize, settings.Optimizer.StateType));
        Assert.Contains("\"hidden_size\": 48", settings.ToJson(), StringComparison.Ordinal);
        Assert.Contains("channels", Assert.Throws<UserException>(() => TrainingSettings.Parse("""{"channels": 48, "hidden_size": 32}""")).Message, StringComparison.Ordinal);
    }

    private static TrainingSettings Settings(TemporaryFolder folder)
    {
        if (!File.Exists(folder["text.txt"]))
            File.WriteAllText(folder["text.txt"], string.Concat(Enumerable.Range(0, 500).Select(i => $"line {i * i % 90 + 10}\n")));
        return new TrainingSettings { Data = [folder["text.txt"]], Layers = 1, Heads = 2, HiddenSize = 12, Block = 8, Batch = 2, Steps = 4, Warmup = 0, EvalBatches = 1, CheckpointInterval = 0 };
    }
}
