using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;
using ILGpuOptim.Tests.Validation;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Models;

/// <summary>A model that is a class of its own, without a description, is trained, saved, resumed and evaluated like the others.</summary>
public sealed class OwnModelTests : IDisposable
{
    private static readonly PairConfig Config = new() { VocabularySize = 1, HiddenSize = 24, IntermediateSize = 24, Layers = 1, Heads = 1, ContextLength = 16 };

    private readonly TemporaryFolder folder = new();
    private readonly CpuDevice device = new(2);

    static OwnModelTests() => ModelFamilies.Register(ModelFamily.Of<PairConfig>("pair", "Pair model"));

    private TrainingSettings Settings => new()
    {
        Model = Config,
        Block = 16,
        Batch = 4,
        Steps = 8,
        Warmup = 0,
        EvalBatches = 2,
        Data = [folder["text"]],
        Optimizer = new() { LearningRate = 0.01 },
    };

    public void Dispose()
    {
        device.Dispose();
        folder.Dispose();
    }

    [Fact]
    public void ItIsTrainedSavedResumedAndEvaluated()
    {
        Write();
        string whole = Train("whole", stopsAt: 8), parts = Train("parts", stopsAt: 4);
        using (TrainingRun run = TrainingRun.Resume(folder["parts"], _ => device))
            Assert.True(run.Train(CancellationToken.None));
        parts = TrainingRun.ModelFolder(folder["parts"]);
        Assert.Equal(File.ReadAllBytes(Path.Combine(whole, ModelFiles.Weights)), File.ReadAllBytes(Path.Combine(parts, ModelFiles.Weights)));

        using LanguageModel model = ModelFiles.Load(parts, device);
        Assert.IsType<PairModel>(model);
        int[] tokens = [.. Enumerable.Range(0, 17).Select(i => i * i % model.Config.VocabularySize)];
        var tape = new Tape(device) { IsRecording = false };
        float[] logits = model.Logits(tape, tokens.AsSpan(0, 16), 1).ToArray();
        double expected = Enumerable.Range(0, 16).Average(i =>
        {
            float[] row = logits[(i * model.Config.VocabularySize)..((i + 1) * model.Config.VocabularySize)];
            return Math.Log(row.Sum(value => Math.Exp(value))) - row[tokens[i + 1]];
        });
        Assert.Equal(expected, Evaluation.Run(model, device, TokenSequence.From(tokens), null).Loss, 1e-6);
        Assert.Equal(logits[^model.Config.VocabularySize..], model.LogitsOf(tape, new TokenBatch(tokens.AsSpan(0, 16), 1), [15]).ToArray());
        Assert.Throws<UserException>(() => Evaluation.Run(model, device, TokenSequence.From(tokens), null, documents: DocumentEnds.One(17)));
    }

    /// <summary>Also in bf16, in which a model of general operations and bf16 activations computes in f32.</summary>
    [Theory]
    [InlineData(Precision.F32)]
    [InlineData(Precision.BF16)]
    public void ItsPlanIsExact(Precision precision)
    {
        Write();
        using TrainingRun run = TrainingRun.Begin(folder["run"], Settings with { EvalBatches = 0, Precision = precision }, device);
        device.Pool.ResetPeak();
        run.Train(CancellationToken.None);
        Assert.Equal(device.Pool.PeakBytes, run.Plan.Total);
    }

    /// <summary>Settings that the model would ignore are refused by name.</summary>
    [Fact]
    public void SettingsThatItIgnoresAreRefused()
    {
        Write();
        foreach ((TrainingSettings settings, string name) in (ReadOnlySpan<(TrainingSettings, string)>)
            [(Settings with { Recompute = true }, "--recompute: Pair model"), (Settings with { Documents = true }, "--documents: Pair model"), (Settings with { Documents = true, Pad = true }, "--documents: Pair model"), (Settings with { Dropout = 0.1 }, "--dropout 0.1: Pair model")])
        {
            Assert.StartsWith(name, Assert.Throws<UserException>(() => TrainingRun.Begin(folder["run"], settings, device)).InFlags(), StringComparison.Ordinal);
        }
    }

    [Fact]
    public void ALossOfIgnoredTargetsIsZero()
    {
        using LanguageModel model = (Config with { VocabularySize = 9 }).Create(new Initializer(device, 1));
        var tape = new Tape(device) { IsRecording = false };
        Assert.Equal(0, model.Loss(tape, [1, 2], [-1, -100], 1).Item());
        Assert.Equal(model.Loss(tape, [1, 2], [3, -100], 1).Item(), 2 * model.Loss(tape, [1, 2], [3, -1], 1, scale: 0.5f).Item());
        Assert.Throws<ArgumentException>(() => new Transformer(Config, new Initializer(device, 1)));
    }

    private string Train(string name, long stopsAt)
    {
        using TrainingRun run = TrainingRun.Begin(folder[name], Settings, device);
        using var stop = new CancellationTokenSource();
        run.Stepped = result =>
        {
            if (result.Step == stopsAt)
                stop.Cancel();
        };
        Assert.Equal(stopsAt == 8, run.Train(stop.Token));
        return TrainingRun.ModelFolder(folder[name]);
    }

    private void Write() => File.WriteAllText(folder["text"], DefaultCorpus.Text[..5000]);

    /// <summary>The configuration: the sizes that most models have, and the class.</summary>
    public sealed record PairConfig : SizedConfig
    {
        public override LanguageModel Create(Initializer initializer) => new PairModel(this, initializer);
    }

    /// <summary>Predicts a token from the two before it: relu(A e[t] + B e[t - 1]) · Eᵀ.</summary>
    public sealed class PairModel : LanguageModel
    {
        private readonly Parameter table, own, earlier, head;

        public PairModel(PairConfig config, Initializer initializer)
        {
            Config = config;
            int size = config.HiddenSize;
            table = Add(initializer, "table", 0.2f, 0, config.VocabularySize, size);
            own = Add(initializer, "own", 0.2f, 0, size, size);
            earlier = Add(initializer, "earlier", 0.2f, 0, size, size);
            head = Add(initializer, "head", 0.2f, 0, size, config.VocabularySize);
        }

        public override ModelConfig Config { get; }

        public override Tensor Logits(Tape tape, in TokenBatch batch)
        {
            int length = batch.Tokens.Length / batch.Sequences;
            Tensor x = tape.IndexSelect(table, 0, batch.Tokens).Reshape(batch.Sequences, length, Config.HiddenSize);
            Tensor before = x.Pad([(0, 0), (1, 0), (0, 0)]).Slice(1, ..length);
            return (x.MatMul(own) + before.MatMul(earlier)).Relu().MatMul(head);
        }
    }
}
