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
    [InlineData("beta1=", "beta1 \"\": it must be a number")]
    [InlineData("limiter=true", "is not a setting of an optimizer; did you mean")]
    [InlineData("rank", "rank has no value; write rank=VALUE, where VALUE is a whole number from 0")]
    [InlineData("rank=2.5", "rank 2.5: it must be a whole number from 0")]
    [InlineData("beta1=0,5", "beta1 0,5: it must be a number of at least 0 and below 1; numbers are written as 0.001 or 1e-3, without commas")]
    [InlineData("alpha=1e39", "alpha 1e39: it must be a number of at least 0 in single precision, in which this is Infinity")]
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
        Assert.Contains("optimizer.options is not a setting", Assert.Throws<UserException>(() => TrainingSettings.Parse("""{"optimizer": {"options": {}}}""")).Message);
        Assert.Contains("optimizer.Beta1 is not a setting; did you mean beta1?", Assert.Throws<UserException>(() => TrainingSettings.Parse("""{"optimizer": {"beta1": 0.5, "Beta1": 0.6}}""")).Message);
    }

    /// <summary>A name with settings after colons, as every command takes it.</summary>
    [Fact]
    public void ALabelHasSettings()
    {
        OptimizerSettings settings = new OptimizerSettings().For("Lion+cautious:beta1=0.5:Caution-Form=count:weight_decay=0:state-type=bf16");
        settings.Check();
        Assert.Equal(("lion+cautious", "0.5", "count", 0, StateStorage.BF16), (settings.Name, settings["beta1"], settings["caution_form"], settings.WeightDecay, settings.StateType));
        Assert.Equal("0.8", new OptimizerSettings().For("adamw:beta1=0.8")["beta1"]);
    }

    [Theory]
    [InlineData("adamw:", "adamw:: \"\" is not a setting of an optimizer")]
    [InlineData("adamw:beta1", "adamw:beta1: beta1 has no value; write beta1=VALUE")]
    [InlineData("adamw:beta1=1", "adamw:beta1=1: beta1 1: it must be a number of at least 0 and below 1")]
    [InlineData("adamw:beta1=0.5:Beta1=0.6", "adamw:beta1=0.5:Beta1=0.6: beta1 is given twice; give it once")]
    [InlineData("adamv:beta1=0.5", "there is no optimizer \"adamv\"; did you mean")]
    public void AWrongLabelIsNamed(string label, string message) =>
        Assert.StartsWith(message, Assert.Throws<UserException>(() => new OptimizerSettings().For(label)).Message, StringComparison.Ordinal);

    /// <summary>In files, options are fields beside the name.</summary>
    [Fact]
    public void ANameIsNoLabel() => Assert.StartsWith("\"adamw:beta1=0.5\" holds settings beside the name of an optimizer; name adamw here",
        Assert.Throws<UserException>(() => TrainingSettings.Parse("""{"optimizer": {"name": "adamw:beta1=0.5"}}""").Optimizer.Check()).Message, StringComparison.Ordinal);

    /// <summary>Parts that are added or taken away leave what the optimizer has.</summary>
    [Fact]
    public void PartsKeepTheSettingsOfTheirOptimizer()
    {
        OptimizerSettings adamw = new OptimizerSettings { LearningRate = 0.5 }.With("beta1", 0.8);
        OptimizerSettings cautious = adamw.For("adamw+cautious").With("caution_floor", 0.5);
        Assert.Equal((0.5, "0.8"), (cautious.LearningRate, cautious["beta1"]));
        Assert.Equal(adamw, cautious.For("adamw"));
        Assert.Equal("0.5", cautious.For("adamw+rms-clip+cautious")["caution_floor"]);
    }

    /// <summary>Files of earlier versions have every option, null where it is not set, and former names.</summary>
    [Fact]
    public void EarlierFilesAreRead()
    {
        OptimizerSettings muon = TrainingSettings.Parse("""{"optimizer": {"name": "muon", "beta1": null, "lamb_form": null, "muon_form": "collection", "muon_scaling": "original", "rank": null}}""").Optimizer;
        Assert.Equal((null, "collection", "original"), (muon["beta1"], muon["form"], muon["scaling"]));
        Assert.Contains("lamb_form is not a setting", Assert.Throws<UserException>(() => TrainingSettings.Parse("""{"optimizer": {"name": "lamb", "lamb_form": "collection"}}""")).Message, StringComparison.Ordinal);
    }

    /// <summary>A shared value need only suit the optimizers that are meant, whichever optimizer declared a name first.</summary>
    [Theory]
    [InlineData("came", "clip_threshold", "0.5")]
    [InlineData("sgd", "momentum", "0")]
    [InlineData("schedulefree-sgd", "momentum", "0.5")]
    [InlineData("stable-spam", "gamma1", "-1")]
    public void ASharedOptionIsThatOfItsOptimizer(string name, string option, string value)
    {
        OptimizerSettings flags = new OptimizerSettings().With(option, value);
        Assert.Equal(value, Candidate.Parse([name], [], flags, flags.Options)[0].Optimizer[option]);
    }

    [Fact]
    public void ASharedValueThatDoesNotSuitOneIsNamed()
    {
        OptimizerSettings flags = new OptimizerSettings().With("clip_threshold", "0.5");
        Assert.Equal("adafactor: Optimizer.ClipThreshold 0.5: it must be a number of at least 1",
            Assert.Throws<UserException>(() => Candidate.Parse(["came,adafactor"], [], flags, flags.Options)).Message);
    }

    /// <summary>Whole numbers of every size are options; what cannot be a setting is refused when it is registered.</summary>
    [Fact]
    public void OptionsOfAPlugInAreSettings()
    {
        var entry = new OptimizerEntry("sized", "for tests", _ => new Plugged(), new SizedOptions());
        Assert.Equal(["a whole number", "a whole number of at least 1", "soft"], entry.Options.Select(option => option.ValidValues));
        Assert.All(entry.Options.Take(2), option => Assert.True(option.Accepts("200") && !option.Accepts("99999999999") && !option.Accepts("1.5")));
        Assert.Equal("texts: the option label has the type String; settings are numbers, Booleans and enumerations, so take one of these, or mark it with [DerivedOption]",
            Assert.Throws<UserException>(() => Registry.Add(new OptimizerEntry("texts", "for tests", _ => new Plugged(), new TextOptions()))).Message);
        Assert.StartsWith("named: every optimizer has a setting state_type",
            Assert.Throws<UserException>(() => Registry.Add(new OptimizerEntry("named", "for tests", _ => new Plugged(), new NamedOptions()))).Message);
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

    private sealed record SizedOptions : OptimizerOptions
    {
        public byte Small { get; init; } = 1;

        [global::ILGpuOptim.Validation.Range(1)]
        public uint Count { get; init; } = 1;

        public PluggedKind Kind { get; init; }
    }

    private sealed record TextOptions : OptimizerOptions
    {
        public string Label { get; init; } = "";
    }

    private sealed record NamedOptions : OptimizerOptions
    {
        public double StateType { get; init; }
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
