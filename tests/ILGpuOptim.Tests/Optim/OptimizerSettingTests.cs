using ILGpuOptim.Lab;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Optim;

/// <summary>The options record of an optimizer is the only declaration of its options: settings, labels, files, help and documentation follow.</summary>
public class OptimizerSettingTests
{
    public static TheoryData<string> Names => new(Registry.Entries.SelectMany(entry => entry.Options).Select(option => option.Name).Distinct());

    /// <summary>Two values of an option, from a label of <c>compare</c>, change the options of each optimizer that has it, and of no other.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void ReachesItsOptimizers(string name)
    {
        OptimizerEntry[] owners = [.. Registry.Entries.Where(entry => entry.OptionNamed(name) is not null)];
        OptimizerOption[] options = [.. owners.Select(entry => entry.OptionNamed(name)!)];
        string[] choices = options[0].ValidValues.Replace(" or ", ", ", StringComparison.Ordinal).Split(", ");
        string[] values = choices.Length > 1 ? choices[..2] : ((string[][])[["3", "5"], ["0.25", "0.5"], ["-0.5", "-0.25"]]).First(pair => options.All(option => pair.All(option.Accepts)));
        foreach (OptimizerEntry entry in owners)
        {
            OptimizerSettings[] settings = [.. values.Select(value => Candidate.Parse([$"{entry.Name}:{name}={value}"], [], new OptimizerSettings())[0].Optimizer)];
            Assert.NotEqual(settings[0], settings[1]);
            Assert.NotEqual(entry.OptionsOf(settings[0], "h.0.attn.weight", [15, 30]), entry.OptionsOf(settings[1], "h.0.attn.weight", [15, 30]));
            TrainingSettings training = new() { Optimizer = settings[1] };
            Assert.Equal(settings[1].Options, TrainingSettings.Parse(training.ToJson()).Optimizer.Options);
        }

        foreach (OptimizerEntry entry in Registry.Entries.Except(owners))
        {
            OptimizerSettings foreign = new OptimizerSettings { Name = entry.Name }.With($"{name}={values[0]}");
            string message = Assert.Throws<UserException>(foreign.Check).Message;
            Assert.Contains($"{entry.Name} has no {name}", message, StringComparison.Ordinal);
            Assert.All(owners, owner => Assert.Contains(owner.Name, message, StringComparison.Ordinal));
            Assert.Contains(message, Assert.Throws<UserException>(() => Candidate.Parse([$"{entry.Name}:{name}={values[0]}"], [], new OptimizerSettings())).Message, StringComparison.Ordinal);
            Assert.Equal(message, Assert.Throws<UserException>(() => Registry.Create(foreign, [], out _)).Message);
        }
    }

    [Fact]
    public void EveryOptionIsDescribed() =>
        Assert.All(Registry.DeclaredOptions, item => Assert.NotEmpty(item.Option.Description));

    /// <summary>The documentation's table has a row for each option and meaning.</summary>
    [Fact]
    public void TheDocumentationListsEveryOption()
    {
        string page = File.ReadAllText(Path.Combine(ArchitectureTests.FindRoot(), "docs", "optimizers.md"));
        foreach (var row in Registry.DeclaredOptions.GroupBy(item => (item.Option.Name, item.Option.Description, item.Option.ValidValues)))
            Assert.Contains($"\n| `{row.Key.Name}` | {string.Join(", ", row.Select(item => item.Owner))} | {row.Key.Description} | {row.Key.ValidValues} |\n", page, StringComparison.Ordinal);
    }

    /// <summary>The values of an option are text; each form of a number is stored in one form, so that equal values compare equal.</summary>
    [Fact]
    public void EqualValuesAreEqual()
    {
        OptimizerSettings settings = new OptimizerSettings().With("beta2", "9.90e-1");
        Assert.Equal(new OptimizerSettings().With("beta2", 0.99), settings);
        Assert.Equal("0.99", settings["beta2"]);
        Assert.Null(settings.With("beta2", 0.5).Without("beta2")["beta2"]);
    }

    /// <summary>An optimizer of a plug-in declares its options in the same way.</summary>
    [Fact]
    public void APlugInHasOptions()
    {
        var entry = new OptimizerEntry("plugged", "for tests", _ => new Plugged(), new PluggedOptions());
        Assert.Equal([("strength", "2", "how strong"), ("kind", "soft", "")], entry.Options.Select(option => (option.Name, option.Default!, option.Description)));
        var options = (PluggedOptions)entry.OptionsOf(new OptimizerSettings(), "w", [2, 3]);
        Assert.Equal((2, PluggedKind.Soft), (options.Strength, options.Kind));
    }

    [Theory]
    [InlineData("limiter=true", "is not a setting of an optimizer; did you mean")]
    [InlineData("rank", "rank has no value; write rank=VALUE, where VALUE is a whole number from 0")]
    [InlineData("rank=2.5", "rank 2.5: it must be a whole number from 0")]
    [InlineData("beta1=NaN", "beta1 NaN: it must be a number of at least 0 and below 1")]
    [InlineData("nesterov=1", "it must be true or false")]
    [InlineData("projection_type=up", "it must be std, reverse_std, left, right or full")]
    [InlineData("weight-decay=-1", "weight_decay -1: it must be a number of at least 0")]
    public void MistakesAreNamed(string assignment, string message) =>
        Assert.Contains(message, Assert.Throws<UserException>(() => new OptimizerSettings().With(assignment)).Message, StringComparison.Ordinal);

    [Fact]
    public void AnotherOptimizerKeepsNothingOfTheFirst()
    {
        OptimizerSettings adamw = new OptimizerSettings { LearningRate = 0.5, WeightDecay = 0.3 }.With("beta2", 0.9);
        Assert.Same(adamw, adamw.For("AdamW"));
        OptimizerSettings came = adamw.For("came");
        Assert.Equal((null, 7e-4, null, 0.3), (came.LearningRate, came.Rate, came["beta2"], came.WeightDecay));
        OptimizerSettings sgd = TrainingSettings.Parse("""{"optimizer": {"name": "sgd", "nesterov": true}}""").Optimizer;
        Assert.Equal((null, "true"), (sgd["beta2"], sgd["nesterov"]));
        sgd.Check();
        Assert.Contains("sgd has no rank", Assert.Throws<UserException>(TrainingSettings.Parse("""{"optimizer": {"name": "sgd", "rank": 2}}""").Optimizer.Check).Message);
        Assert.Throws<UserException>(() => TrainingSettings.Parse("""{"optimizer": {"nonsense": 2}}"""));
    }

    /// <summary>Files of earlier versions have every option, null where it is not set, and former names.</summary>
    [Fact]
    public void EarlierFilesAreRead()
    {
        OptimizerSettings muon = TrainingSettings.Parse("""{"optimizer": {"name": "muon", "beta1": null, "lamb_form": null, "muon_form": "collection", "muon_scaling": "original", "rank": null}}""").Optimizer;
        Assert.Equal((null, "collection", "original"), (muon["beta1"], muon["form"], muon["scaling"]));
        Assert.Contains("lamb_form is not a setting", Assert.Throws<UserException>(() => TrainingSettings.Parse("""{"optimizer": {"name": "lamb", "lamb_form": "collection"}}""")).Message, StringComparison.Ordinal);
    }

    private enum PluggedKind
    {
        Soft,
    }

    private sealed record PluggedOptions : OptimizerOptions
    {
        [System.ComponentModel.Description("how strong")]
        public double Strength { get; init; } = 2;

        public PluggedKind Kind { get; init; }
    }

    private sealed class Plugged : Optimizer<PluggedOptions>
    {
        public override string Name => "plugged";

        protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, PluggedOptions options) => [];

        protected override void Update(in ParameterUpdate update, PluggedOptions options)
        {
        }
    }
}
