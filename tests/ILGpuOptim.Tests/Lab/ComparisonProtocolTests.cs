using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Lab;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Lab;

/// <summary>Comparisons that a file states: read strictly, run once, gone on with after a stop.</summary>
public class ComparisonProtocolTests
{
    private const string Json = """
        { "studies": [
          { "name": "small",
            "training": { "preset": "llama-tiny", "data": ["DATA"], "layers": 1, "heads": 2, "hidden_size": 16, "block": 16, "batch": 2, "eval_batches": 2, "checkpoint_interval": 2 },
            "tokens": 256, "batches": [32, 64], "warmup": 0.25, "tuning_seed": 7, "seeds": [8, 9],
            "baseline": { "optimizer": "adamw", "passes": 2, "multiples": [0.5, 2],
              "search": [ { "name": "lr", "grid": [0.001, 0.01], "further": [0.1] }, { "name": "beta2", "grid": [0.9, 0.99] }, { "name": "clip", "grid": [0, 1], "start": 1 } ] },
            "optimizers": [ { "optimizer": "came:beta3=0.995", "takes": ["clip"], "search": [ { "name": "lr", "grid": [0.001], "further": [0.0001] } ] } ] },
          { "name": "masked",
            "training": { "preset": "bert-tiny", "data": ["DATA"], "layers": 1, "heads": 2, "hidden_size": 16, "block": 16, "batch": 2, "eval_batches": 2 },
            "tokens": 128, "batches": [32], "validations": 2, "accuracy": true, "tuning_seed": 1, "seeds": [2],
            "baseline": { "optimizer": "adam", "search": [ { "name": "lr", "grid": [0.01] } ] } } ] }
        """;

    [Fact]
    public void StatesTheSettingsOfEveryRun()
    {
        ProtocolStudy study = ComparisonProtocol.Parse(Json).Studies[0];
        TrainingSettings settings = study.Of(study.Optimizers[1], new Dictionary<string, double> { ["lr"] = 0.002, ["clip"] = 0.5 }, 64, 2, 9);
        Assert.Equal((8, 2, 2, 8, 0.5, 9UL), (settings.Steps, settings.Accumulate, settings.Warmup, settings.EvalInterval, settings.Clip, settings.Seed));
        Assert.Equal(("came", 0.002, "0.995"), (settings.Optimizer.Name, settings.Optimizer.Rate, settings.Optimizer["beta3"]));
        settings = study.Of(study.Optimizers[0], new Dictionary<string, double> { ["beta2"] = 0.9, ["lr"] = 0.01 }, 32, 0.5, 8);
        Assert.Equal((4, 1, "0.9"), (settings.Steps, settings.Accumulate, settings.Optimizer["beta2"]));

        // Each of two shards has its own batches.
        study = ComparisonProtocol.Parse(Json.Replace("\"checkpoint_interval\": 2", "\"shards\": 2", StringComparison.Ordinal).Replace("[32, 64]", "[64, 128]", StringComparison.Ordinal)).Studies[0];
        settings = study.Of(study.Optimizers[0], new Dictionary<string, double>(), 128, 1, 9);
        Assert.Equal((2, 2), (settings.Steps, settings.Accumulate));
    }

    [Fact]
    public void CountsItsRuns()
    {
        // Two batch sizes; 2 + 1 + 1 baseline points and 1 of CAME at least; twice 3 + 1 + 1 and 2 at most; and 2 seeds of 2 optimizers and 2 multiples.
        var plan = ProtocolPlan.Of(ComparisonProtocol.Parse(Json).Studies[0]);
        Assert.Equal((2 * (4 + 1 + 8), 2 * (10 + 2 + 8)), (plan.FewestRuns, plan.MostRuns));
        Assert.Equal(2 * 256 * (4 + 1 + 2 * (2 + 2.5)), plan.FewestTokens);
    }

    [Theory]
    [InlineData("\"tokens\": 256", "\"tokens\": 256, \"token\": 1", "studies[0].token is 1: the field is not known")]
    [InlineData("\"layers\": 1", "\"layer\": 1", "studies[0].training.layer is not a setting; did you mean layers?")]
    [InlineData("\"block\": 16", "\"block\": 16, \"steps\": 4", "studies[0].training.steps is stated by the study itself")]
    [InlineData("\"further\": [0.1]", "\"further\": [0.005]", "further must be ascending values outside the grid (0.001 to 0.01)")]
    [InlineData("\"grid\": [0.001, 0.01]", "\"grid\": [0.01, 0.001]", "grid must be ascending")]
    [InlineData("\"start\": 1", "\"start\": 2", "search[2].start is 2, which the grid does not have")]
    [InlineData("\"name\": \"beta2\"", "\"name\": \"beta9\"", "\"beta9\" is not a setting of an optimizer")]
    [InlineData("\"grid\": [0.9, 0.99]", "\"grid\": [0.9, 1.5]", "beta2 1.5 is invalid")]
    [InlineData("came:beta3", "came:rank=2:beta3", "came has no rank")]
    [InlineData("\"takes\": [\"clip\"]", "\"takes\": [\"weight_decay\"]", "takes weight_decay; the baseline does not search that")]
    [InlineData("[32, 64]", "[32, 48]", "batches must be different multiples of 32 tokens")]
    [InlineData("\"seeds\": [8, 9]", "\"seeds\": [8, 8]", "seeds must be different")]
    [InlineData("\"multiples\": [0.5, 2]", "\"multiples\": [1]", "multiples must be above 0, other than 1, and different")]
    [InlineData("\"multiples\": [0.5, 2]", "\"multiples\": [2, 2]", "multiples must be above 0, other than 1, and different")]
    [InlineData("\"multiples\": [0.5, 2]", "\"multiples\": [1e300]", "tokens is 256, which is more than 2147483647 updates")]
    [InlineData("\"tokens\": 256", "\"tokens\": 9223372036854775807", "tokens is 9223372036854775807, which is more than 2147483647 updates")]
    [InlineData("\"block\": 16, \"batch\": 2", "\"block\": 256, \"batch\": 16777216", "batches must be different multiples of 4294967296 tokens")]
    [InlineData("\"checkpoint_interval\": 2", "\"shards\": 2", "batches must be different multiples of 64 tokens")]
    [InlineData("\"eval_batches\": 2, \"checkpoint_interval\": 2", "\"eval_batches\": 0", "training has no validation")]
    [InlineData("\"warmup\": 0.25", "\"validations\": 3", "validations is 3, more than the 2 updates of the shortest run")]
    [InlineData("came:beta3=0.995", "came,lion", "optimizer is \"came,lion\"; name one optimizer")]
    [InlineData("\"optimizer\": \"adamw\"", "\"optimizer\": \"adamw:Beta2=0.95\"", "search states Beta2 twice")]
    [InlineData("\"optimizers\": [ ", "\"optimizers\": [ { \"optimizer\": \"came:weight_decay=1e-3\", \"search\": [ { \"name\": \"lr\", \"grid\": [1] } ] }, { \"optimizer\": \"came:weight_decay=1e+3\", \"search\": [ { \"name\": \"lr\", \"grid\": [1] } ] }, ", "whose runs would have the same folder")]
    [InlineData("\"grid\": [0.001, 0.01]", "\"grid\": [0, 0.01]", "a learning rate that is not above 0")]
    [InlineData("\"preset\": \"bert-tiny\"", "\"preset\": \"bert-tiny\", \"device\": \"reference\"", "studies have different devices")]
    [InlineData("\"multiples\": [0.5, 2]", "\"multiples\": [0.001]", "tokens is 256, which is less than one update")]
    [InlineData("\"name\": \"masked\"", "\"name\": \"small\"", "studies has two of the name small")]
    [InlineData("\"name\": \"lr\", \"grid\": [0.01]", "\"name\": \"clip\", \"grid\": [1]", "search has no axis lr")]
    [InlineData("\"tuning_seed\": 7, ", "", "studies[0].tuning_seed is missing")]
    public void RefusesWhatItDoesNotKnow(string text, string replacement, string message)
    {
        Assert.Contains(text, Json, StringComparison.Ordinal);
        UserException error = Assert.Throws<UserException>(() => ComparisonProtocol.Parse(Json.Replace(text, replacement, StringComparison.Ordinal)));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }

    [Fact]
    public void StoppedAnywhereItEndsInTheSameTables()
    {
        using var folder = new TemporaryFolder();
        ComparisonProtocol protocol = ComparisonProtocol.Parse(WithData(folder));
        using var device = new CpuDevice(2);
        string whole = folder["whole"], parts = folder["parts"];
        Assert.True(Run(whole, protocol, device, CancellationToken.None));
        int stops = 0;
        for (bool finished = false; !finished; stops++)
        {
            using var stop = new CancellationTokenSource();
            int steps = 0;
            try
            {
                finished = Run(parts, protocol, device, stop.Token, () =>
                {
                    if (++steps < 31)
                        return;
                    if (stops % 2 == 1)
                        throw new KilledException();
                    stop.Cancel();
                });
            }
            catch (KilledException)
            {
                // Gone on with in the next round.
            }

            Assert.InRange(stops, 0, 100);
        }

        Assert.True(stops > 3);
        string results = File.ReadAllText(Path.Combine(whole, "results.md"));
        Assert.Equal(results, File.ReadAllText(Path.Combine(parts, "results.md")));
        Assert.Equal(File.ReadAllText(Path.Combine(whole, "results.csv")), File.ReadAllText(Path.Combine(parts, "results.csv")));
        Assert.True(Run(parts, protocol, device, CancellationToken.None, () => Assert.Fail("a finished protocol has nothing to train")));
        Assert.Equal(results, File.ReadAllText(Path.Combine(parts, "results.md")));

        // Two optimizers at two batch sizes and one of the masked model; the accuracy before the first step and after each of two validations.
        Assert.Equal(6, File.ReadLines(Path.Combine(whole, "results.csv")).Count());
        Assert.Equal(3, results.Split("### Accuracy for masked tokens")[1].Split('\n').Count(line => line.EndsWith(" % |", StringComparison.Ordinal)));
        Assert.Contains("Losses of adamw by tokens: 0.5 times: ", results, StringComparison.Ordinal);
    }

    [Fact]
    public void AFolderKeepsItsProtocol()
    {
        using var folder = new TemporaryFolder();
        ComparisonProtocol protocol = ComparisonProtocol.Parse(Json);
        using (ProtocolComparison.Open(folder["one"], protocol))
        {
        }

        using (ProtocolComparison.Open(folder["one"], ComparisonProtocol.Parse("// the same\n" + Json)))
        {
        }

        UserException error = Assert.Throws<UserException>(() => ProtocolComparison.Open(folder["one"], ComparisonProtocol.Parse(Json.Replace("[8, 9]", "[8, 10]", StringComparison.Ordinal))));
        Assert.Contains("it holds another protocol (studies[0].seeds[1]: 9 there, 10 here)", error.Message, StringComparison.Ordinal);
        Directory.CreateDirectory(folder["other"]);
        File.WriteAllText(folder["other", "notes.txt"], "");
        Assert.Contains("cannot be written or read", Assert.Throws<UserException>(() => ProtocolComparison.Open("", protocol)).Message, StringComparison.Ordinal);
        Assert.Contains("holds no protocol", Assert.Throws<UserException>(() => ProtocolComparison.Open(folder["other"], protocol)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TokensAreNotSeenTwiceUnlessStated()
    {
        using var folder = new TemporaryFolder();
        string json = WithData(folder).Replace("\"tokens\": 256", "\"tokens\": 25600", StringComparison.Ordinal);
        Assert.Contains("the longest run needs 51,200", Assert.Throws<UserException>(() => ProtocolComparison.Check(ComparisonProtocol.Parse(json).Studies[0])).Message, StringComparison.Ordinal);
        ProtocolComparison.Check(ComparisonProtocol.Parse(json.Replace("\"batches\": [32, 64]", "\"repeats\": true, \"batches\": [32, 64]", StringComparison.Ordinal)).Studies[0]);
    }

    [Fact]
    public void AccuracyNeedsAModelThatPredictsMaskedTokens()
    {
        using var folder = new TemporaryFolder();
        ComparisonProtocol protocol = ComparisonProtocol.Parse(WithData(folder).Replace("\"warmup\": 0.25", "\"accuracy\": true", StringComparison.Ordinal));
        Assert.Contains("predicts no masked tokens", Assert.Throws<UserException>(() => ProtocolComparison.Check(protocol.Studies[0])).Message, StringComparison.Ordinal);
        ProtocolComparison.Check(protocol.Studies[1]);
    }

    [Fact]
    public void TheCommittedProtocolsAreValid()
    {
        string folder = Path.Combine(ArchitectureTests.FindRoot(), "benchmarks", "protocols");
        string[] files = Directory.GetFiles(folder, "*.json");
        Assert.NotEmpty(files);
        Assert.All(files, file => Assert.NotEmpty(ComparisonProtocol.Load(file).Studies));
    }

    private sealed class KilledException : Exception;

    private static string WithData(TemporaryFolder folder)
    {
        string text = folder["text.txt"];
        File.WriteAllText(text, string.Concat(Enumerable.Range(0, 400).Select(i => $"line {i * i % 97} of the text says {i % 7}\n")));
        return Json.Replace("DATA", text.Replace("\\", "\\\\", StringComparison.Ordinal), StringComparison.Ordinal);
    }

    private static bool Run(string folder, ComparisonProtocol protocol, Device device, CancellationToken stop, Action? stepped = null)
    {
        using ProtocolComparison comparison = ProtocolComparison.Open(folder, protocol);
        comparison.Begun = (_, training) => training.Stepped += _ => stepped?.Invoke();
        bool finished = comparison.Run(device, 0, stop);
        ProtocolTables.Write(comparison, finished);
        return finished;
    }
}
