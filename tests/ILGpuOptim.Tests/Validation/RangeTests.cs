using System.CommandLine;
using System.Globalization;
using System.Reflection;
using ILGpuOptim.Cli;
using ILGpuOptim.Cli.Commands;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Generation;
using ILGpuOptim.Lab;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Tests.Validation;

/// <summary>Every number of every settings record has a range, and library, files and flags refuse what lies outside it in one line.</summary>
public class RangeTests
{
    private static readonly string[] NoNumbers = ["nan", "NaN", "inf", "Infinity", "-Infinity", "1e999", "", " 1", "1 ", "1,5", "0,001", "1_000", "1,000", "0x1", "1x", "1e", "1e-3x", "--1", "∞", "١", "null", "true"];

    /// <summary>One object of each type of settings.</summary>
    private static IEnumerable<object> AllSettings =>
    [
        new TrainingSettings(), new LoraOptions(), new RateFactor("*", 1), new SamplingOptions(), new EvaluationOptions(),
        new ComparisonSettings { Training = new TrainingSettings(), Candidates = [] },
        .. Registry.Entries.Select(entry => new OptimizerSettings { Name = entry.Name }),
        .. typeof(OptimizerOptions).Assembly.GetTypes().Where(type => type.IsAssignableTo(typeof(OptimizerOptions))).Select(type => Activator.CreateInstance(type)!),
    ];

    /// <summary>Index of the object, the property, and a value outside its range.</summary>
    public static TheoryData<int, string, double> OutOfRange
    {
        get
        {
            var data = new TheoryData<int, string, double>();
            object[] all = [.. AllSettings];
            for (int i = 0; i < all.Length; i++)
            {
                foreach (PropertyInfo property in Numbers(all[i]))
                {
                    foreach (double value in Outside(property, RangeOf(property)!))
                        data.Add(i, property.Name, value);
                }
            }

            return data;
        }
    }

    [Fact]
    public void EveryNumberDeclaresItsRange()
    {
        foreach (object settings in AllSettings)
            Assert.All(Ranges.SettingsOf(settings.GetType()).Where(property => Values.IsNumber(property.PropertyType)), property => Assert.True(RangeOf(property) is not null, $"{settings.GetType().Name}.{property.Name} declares no range"));
    }

    [Fact]
    public void DefaultsLieInTheirRanges() => Assert.All(AllSettings, Ranges.Check);

    [Theory]
    [MemberData(nameof(OutOfRange), DisableDiscoveryEnumeration = true)]
    public void TheLibraryRefuses(int index, string name, double value)
    {
        object settings = SettingsReader.Copy(AllSettings.ElementAt(index));
        PropertyInfo property = settings.GetType().GetProperty(name)!;
        property.SetValue(settings, Convert.ChangeType(value, Underlying(property), CultureInfo.InvariantCulture));
        SettingException error = Assert.Throws<SettingException>(() => Ranges.Check(settings));
        Assert.Equal(name, error.Path);
        Assert.Contains($"{name} {value.ToString(CultureInfo.InvariantCulture)}: it must be {(IsWhole(property) ? "a whole number" : "a number")}", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }

    [Fact]
    public void FilesRefuse()
    {
        foreach ((string path, string optimizer, Type type, RangeAttribute range) in TrainingNumbers())
        {
            string json = string.Join('.', path.Split('.').Select(Values.NameOf));
            string[] wrong = [.. Outside(type, range).Where(double.IsFinite).Select(Text), "1e999", "-1e2147483648", "\"1\"", "true", "[1]", "{}", .. path.StartsWith("Lora", StringComparison.Ordinal) || !IsNullable(path) ? new[] { "null" } : [], .. IsWhole(type) ? new[] { "1.5" } : []];
            foreach (string value in wrong)
            {
                string[] names = json.Split('.');
                string field = $"\"{names[^1]}\": {value}", name = names[0] == "optimizer" ? $"\"name\": \"{optimizer}\", " : "";
                string text = names.Length == 1 ? $"{{{field}}}" : $"{{\"{names[0]}\": {{{name}{field}}}}}";
                string message = Assert.Throws<UserException>(() => TrainingSettings.Parse(text)).Message;
                Assert.StartsWith($"settings: {json} ", message, StringComparison.Ordinal);
                Assert.Contains(IsWhole(type) ? "it must be a whole number" : "it must be a number", message, StringComparison.Ordinal);
                AssertOneLine(message);
            }
        }
    }

    [Fact]
    public void FlagsRefuse()
    {
        IReadOnlyDictionary<string, Option> flags = new TrainOptions().ByPath;
        int tested = 0;
        foreach ((string path, _, Type type, RangeAttribute range) in TrainingNumbers().Where(item => flags.ContainsKey(item.Path)))
        {
            string flag = flags[path].Name;
            foreach (string value in Outside(type, range).Select(Text).Concat(NoNumbers))
            {
                string error = Assert.IsType<string>(ErrorOf(["train", $"{flag}={value}"]));
                Assert.StartsWith(value.Length > 0 ? $"{flag} {value}: it must be {(IsWhole(type) ? "a whole number" : "a number")}" : $"Required argument missing for option: '{flag}'", error, StringComparison.Ordinal);
                Assert.EndsWith("; see ilgpuoptim train --help", error, StringComparison.Ordinal);
                AssertOneLine(error);
            }

            foreach (double value in (double[])[range.Minimum, range.Maximum])
            {
                if (range.Contains(value) && value is >= int.MinValue and <= int.MaxValue)
                    Assert.Null(ErrorOf(["train", $"{flag}={Text(value)}"]));
            }

            tested++;
        }

        Assert.True(tested > 25, $"{tested} flags");
    }

    /// <summary>Every flag of every command that takes a number or a word of a list refuses anything else.</summary>
    [Fact]
    public void EveryFlagOfEveryCommandIsStrict()
    {
        int tested = 0;
        void Walk(Command command, string[] path)
        {
            foreach (Command child in command.Subcommands)
                Walk(child, [.. path, child.Name]);
            foreach (Option option in command.Options)
            {
                Type type = Nullable.GetUnderlyingType(option.ValueType) ?? option.ValueType;
                string[] wrong = Values.IsNumber(type) ? [.. NoNumbers, .. IsWhole(type) ? new[] { "1.5", "1e3", "99999999999999999999999" } : []] : type.IsEnum ? ["0", "1", "-1", "99", "nothing"] : [];
                foreach (string value in wrong)
                {
                    string error = Assert.IsType<string>(ErrorOf([.. path, $"{option.Name}={value}"]));
                    AssertOneLine(error);
                    tested++;
                }
            }
        }

        Walk(CommandLine.Commands(), []);
        Assert.True(tested > 1000, $"{tested} values");
    }

    [Theory]
    [InlineData("there is no flag --stepz; did you mean --steps? see ilgpuoptim train --help", "train", "--stepz", "3")]
    [InlineData("there is no command \"trian\"; did you mean train? see ilgpuoptim --help", "trian")]
    [InlineData("a command is missing; there are train, encode, decode; see ilgpuoptim tokenizer --help", "tokenizer")]
    [InlineData("--seed -5: it must be a whole number from 0 to 18446744073709551615; see ilgpuoptim train --help", "train", "--seed", "-5")]
    [InlineData("--validation 0: it must be a number above 0 and below 1; see ilgpuoptim prepare --help", "prepare", "--data", "x", "--tokenizer", "byte", "--out", "y", "--validation", "0")]
    [InlineData("--arch 91: it must be a whole number from 50 to 90; see ilgpuoptim kernels --help", "kernels", "lion", "--arch", "91")]
    [InlineData("--state-type 1: it must be f32, bf16 or fp8; see ilgpuoptim train --help", "train", "--state-type", "1")]
    [InlineData("--vocab 257: it must be a whole number from 258 to 2147483647; see ilgpuoptim tokenizer train --help", "tokenizer", "train", "--out", "x", "--vocab", "257")]
    [InlineData("\"maybe\" is neither the value of a flag nor an argument of the command; see ilgpuoptim train --help", "train", "--layerwise", "maybe")]
    public void AMistypedCommandGetsOneLine(string expected, params string[] arguments) => Assert.Equal(expected, ErrorOf(arguments));

    [Fact]
    public void ATextMayBeginWithAnAt() => Assert.Null(ErrorOf(["sample", "model", "--prompt", "@reader"]));

    [Theory]
    [InlineData("""{"stepss": 4}""", "stepss is not a setting; did you mean steps?")]
    [InlineData("""{"stepss": null}""", "stepss is not a setting; did you mean steps?")]
    [InlineData("""{"optimizer": {"betta1": 0.5}}""", "optimizer.betta1 is not a setting; did you mean beta1?")]
    [InlineData("""{"lora": {"rnk": 2}}""", "lora.rnk is not a setting; did you mean rank?")]
    [InlineData("""{"steps": 3, "steps": 4}""", "steps appears twice")]
    [InlineData("""{"schedule": 1}""", "schedule is 1; it must be constant, linear, cosine or wsd")]
    [InlineData("""{"schedule": "1"}""", "schedule is \"1\"; it must be constant, linear, cosine or wsd")]
    [InlineData("""{"optimizer": {"name": "apollo", "scale_type": 1}}""", "optimizer.scale_type is 1; it must be channel or tensor")]
    [InlineData("""{"optimizer": null}""", "optimizer is null; it must be an object")]
    [InlineData("""{"optimizer": {"name": null}}""", "optimizer.name is null; it must be a string")]
    [InlineData("""{"optimizer": {"name": "adamww"}}""", "did you mean adamw")]
    [InlineData("""{"data": null}""", "data is null; it must be an array")]
    [InlineData("""{"data": "a.txt"}""", "data is \"a.txt\"; it must be an array")]
    [InlineData("""{"data": [null]}""", "data[0] is null; it must be a string")]
    [InlineData("""{"data": ["\ud800"]}""", "half a surrogate pair")]
    [InlineData("""{"\ud800": 1}""", "half a surrogate pair")]
    [InlineData("""{"preset": 3}""", "preset is 3; it must be a string")]
    [InlineData("""{"layerwise": 1}""", "layerwise is 1; it must be true or false")]
    [InlineData("""{"optimizer": {"learning_rate_for": [{"pattern": "*", "factor": -1}]}}""", "optimizer.learning_rate_for[0].factor -1: it must be a number of at least 0")]
    [InlineData("""{"optimizer": {"learning_rate_for": [{"pattern": "*"}]}}""", "optimizer.learning_rate_for[0].factor is missing")]
    [InlineData("[1]", "it must be an object")]
    [InlineData("{", "not valid JSON")]
    public void FilesOfSettingsAreReadStrictly(string json, string problem)
    {
        string message = Assert.Throws<UserException>(() => TrainingSettings.Parse(json)).Message;
        Assert.StartsWith("settings: ", message, StringComparison.Ordinal);
        Assert.Contains(problem, message, StringComparison.Ordinal);
        AssertOneLine(message);
    }

    [Fact]
    public void AByteOrderMarkIsFine()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["settings.json"], """{"steps": 7}""", new System.Text.UTF8Encoding(true));
        Assert.Equal(7, TrainingSettings.Load(folder["settings.json"]).Steps);
    }

    [Fact]
    public void TheTrainerRefuses()
    {
        using var device = new CpuDevice(1);
        using LanguageModel model = new Gpt2Config { VocabularySize = 4, ContextLength = 8, HiddenSize = 8, Layers = 1, Heads = 2 }.Create(new Initializer(device, 1));
        using Dataset data = Dataset.FromTokens(TokenSequence.From(new int[20]), 4, null, 0, "tokens");
        var settings = new TrainingSettings { Block = 8, Batch = 1, EvalBatches = 0 };
        foreach (TrainingSettings wrong in (TrainingSettings[])
            [
                settings with { Optimizer = settings.Optimizer with { LearningRate = double.NaN } },
                settings with { Optimizer = settings.Optimizer with { WeightDecay = -1 } },
                settings with { Optimizer = settings.Optimizer with { StateType = (StateStorage)9 } },
                settings with { Optimizer = null! },
                settings with { Data = null! },
                settings with { Schedule = (ScheduleKind)(-1) },
                settings with { Batch = 1 << 20, Block = 1 << 20 },
            ])
        {
            AssertOneLine(Assert.ThrowsAny<UserException>(() => new Trainer(device, model, data, wrong)).Message);
        }

        using var optimizer = new Sgd();
        Assert.Contains("Momentum 2: it must be a number of at least 0 and below 1", Assert.Throws<UserException>(() => optimizer.Add(model.Head!, new SgdOptions { Momentum = 2 })).Message, StringComparison.Ordinal);
    }

    /// <summary>The numbers of training settings by their paths, with an optimizer that has the setting.</summary>
    private static IEnumerable<(string Path, string Optimizer, Type Type, RangeAttribute Range)> TrainingNumbers()
    {
        foreach (PropertyInfo property in Numbers(new TrainingSettings()))
            yield return (property.Name, "", Underlying(property), RangeOf(property)!);
        foreach (PropertyInfo property in Numbers(new LoraOptions()))
            yield return ($"Lora.{property.Name}", "", Underlying(property), RangeOf(property)!);
        foreach (PropertyInfo property in Numbers(new OptimizerSettings()))
            yield return ($"Optimizer.{property.Name}", "adamw", Underlying(property), RangeOf(property)!);
        foreach ((OptimizerEntry owner, OptimizerOption option) in Registry.Entries.SelectMany(entry => entry.Options, (entry, option) => (entry, option)).DistinctBy(item => item.option.Name))
        {
            if (Values.IsNumber(option.Type))
                yield return (option.Path, owner.Name, option.Type, option.Range!);
        }
    }

    private static IEnumerable<PropertyInfo> Numbers(object settings) =>
        Ranges.SettingsOf(settings.GetType()).Where(property => Values.IsNumber(property.PropertyType) && RangeOf(property) is not null);

    private static RangeAttribute? RangeOf(PropertyInfo property) => property.GetCustomAttribute<RangeAttribute>();

    private static IEnumerable<double> Outside(PropertyInfo property, RangeAttribute range) => Outside(Underlying(property), range).Where(value => Underlying(property) != typeof(ulong) || value >= 0);

    private static IEnumerable<double> Outside(Type type, RangeAttribute range)
    {
        double[] values = IsWhole(type) ? [range.Minimum - 1, range.Maximum + 1] : [double.NaN, double.PositiveInfinity, double.NegativeInfinity, range.Minimum - 1, range.Maximum + 1, range.Minimum, range.Maximum, 1e39, -1e39];
        return values.Distinct().Where(value => !range.Contains(value) && (!IsWhole(type) || value is >= int.MinValue and <= int.MaxValue));
    }

    private static bool IsNullable(string path)
    {
        Type type = path.StartsWith("Optimizer.", StringComparison.Ordinal) ? typeof(OptimizerSettings) : typeof(TrainingSettings);
        return type.GetProperty(path.Split('.')[^1]) is not { } property || Nullable.GetUnderlyingType(property.PropertyType) is not null;
    }

    private static Type Underlying(PropertyInfo property) => Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;

    private static bool IsWhole(PropertyInfo property) => IsWhole(Underlying(property));

    private static bool IsWhole(Type type) => type != typeof(double) && type != typeof(float);

    private static string Text(double value) => value.ToString("R", CultureInfo.InvariantCulture);

    private static string? ErrorOf(string[] arguments) => ParseErrors.FirstOf(CommandLine.Parse(arguments));

    private static void AssertOneLine(string message)
    {
        Assert.DoesNotContain('\n', message);
        Assert.DoesNotContain("System.", message, StringComparison.Ordinal);
        Assert.DoesNotContain("ILGpuOptim.", message, StringComparison.Ordinal);
    }
}
