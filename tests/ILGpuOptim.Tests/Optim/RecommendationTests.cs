using System.Globalization;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Optim;

/// <summary>Learning rates, options, warm-up and schedule that are used where none are set.</summary>
public class RecommendationTests
{
    public static TheoryData<string> Names => new(Registry.Entries.Select(entry => entry.Name));

    [Theory]
    [MemberData(nameof(Names))]
    public void EveryDefaultIsFilledIn(string name)
    {
        OptimizerEntry entry = Registry.Find(name);
        TrainingSettings filled = new TrainingSettings { Optimizer = new OptimizerSettings { Name = name }, Steps = 5000 }.Filled();
        Assert.Equal(entry.Defaults.LearningRate, filled.Optimizer.LearningRate);
        Assert.Equal(entry.Options.Where(option => option.Default is not null).Select(option => (option.Name, option.Default!)).Order(), filled.Optimizer.Options.Select(item => (item.Key, item.Value)).Order());
        Assert.Equal((entry.Warmup, entry.KeepsRate ? ScheduleKind.Constant : ScheduleKind.Cosine), (filled.Warmup, filled.Schedule));
        Assert.Equal(filled.ToJson(), filled.Filled().ToJson());
        Assert.Equal(filled.ToJson(), TrainingSettings.Parse(filled.ToJson()).ToJson());
        Assert.Equal(entry.OptionsOf(new OptimizerSettings { Name = name }, "h.0.attn.weight", [6, 8]), entry.OptionsOf(filled.Optimizer, "h.0.attn.weight", [6, 8]));
    }

    [Fact]
    public void WhatIsSetStays()
    {
        TrainingSettings set = new() { Optimizer = new OptimizerSettings { Name = "came", LearningRate = 0.5 }.With("beta3", 0.9), Warmup = 7, Schedule = ScheduleKind.Wsd };
        TrainingSettings filled = set.Filled();
        Assert.Equal((0.5, "0.9", "0.95", 7, ScheduleKind.Wsd), (filled.Optimizer.LearningRate, filled.Optimizer["beta3"], filled.Optimizer["beta2"], filled.Warmup, filled.Schedule));
        Assert.Equal(3, (new TrainingSettings { Steps = 30 }).Filled().Warmup);

        // Training takes it from the model.
        Assert.Null((new TrainingSettings { Optimizer = new OptimizerSettings { Name = "adam-mini" } }).Filled().Optimizer["head_size"]);
    }

    /// <summary>A run of an earlier version keeps the values that it began with: those of the papers where its file names none.</summary>
    [Theory]
    [InlineData("came", "beta2", "0.95", "0.999")]
    [InlineData("came", "beta3", "0.995", "0.9999")]
    [InlineData("apollo", "beta2", "0.99", "0.999")]
    [InlineData("adamw", "beta2", "0.99", "0.999")]
    public void EarlierRunsKeepTheirDefaults(string optimizer, string option, string now, string then)
    {
        using var folder = new TemporaryFolder();
        string path = folder["settings.json"], json = $$"""{"optimizer": {"name": "{{optimizer}}", "learning_rate": 0.002, "{{option}}": null} }""";
        File.WriteAllText(path, json);
        Assert.Equal(now, TrainingSettings.Load(path).Filled().Optimizer[option]);
        Assert.Equal(then, TrainingSettings.LoadRun(path).Filled().Optimizer[option]);
        TrainingSettings begun = TrainingSettings.Load(path).Filled();
        File.WriteAllText(path, new RunRecord().ToJson(begun));
        Assert.Equal(begun.ToJson(), TrainingSettings.LoadRun(path).ToJson());
    }

    /// <summary>The table of docs/choosing.md has the recommended values, and the options in which they differ from those of the paper.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void TheDocumentationListsWhatIsRecommended(string name)
    {
        OptimizerEntry entry = Registry.Find(name);
        var published = (OptimizerOptions)Activator.CreateInstance(entry.Defaults.GetType())!;
        string[] changed = [.. entry.Options.Zip(new OptimizerEntry(name, "", entry.Create, published).Options)
            .Where(pair => pair.First.Default != pair.Second.Default).Select(pair => $"`{pair.First.Name}` {pair.First.Default ?? "off"}")];
        string row = string.Create(CultureInfo.InvariantCulture, $"\n| {name} | {entry.Defaults.LearningRate} | {entry.Warmup} | {(entry.KeepsRate ? "constant" : "cosine")} | {(changed.Length == 0 ? "–" : string.Join(", ", changed))} |");
        Assert.Contains(row, File.ReadAllText(Path.Combine(ArchitectureTests.FindRoot(), "docs", "choosing.md")), StringComparison.Ordinal);
    }
}
