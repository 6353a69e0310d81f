using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Generation;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

/// <summary>A T5 learns from plain text: hidden spans, their tokens, losses, evaluation and answers.</summary>
public sealed class SpanTrainingTests : IDisposable
{
    private const string Alphabet = "abcdefghijklmnopqrst";

    private readonly TemporaryFolder folder = new();
    private readonly CpuDevice device = new(2);

    public void Dispose()
    {
        device.Dispose();
        folder.Dispose();
    }

    /// <summary>What is hidden of a repeated alphabet follows from what is visible.</summary>
    [Fact]
    public void LearnsAnswersAndIsEvaluated()
    {
        TrainingSettings settings = Settings() with { Steps = 1000, Block = 24, MeanSpan = 2, Batch = 16, Optimizer = new OptimizerSettings { LearningRate = 3e-3 } };
        MemoryPlan plan;
        EvaluationResult before, after;
        using (TrainingRun run = TrainingRun.Begin(folder["run"], settings, device))
        {
            TokenSequence tokens = run.Data.Validation;
            plan = MemoryPlan.Of(run.Trainer.Model.Config, settings, device);
            before = Evaluation.Run(run.Trainer.Model, device, tokens, null, new EvaluationOptions { Block = 24, MeanSpan = 2 });
            Assert.Equal(Math.Log(run.Trainer.Model.Config.VocabularySize), before.Loss, 1.5);
            Assert.True(run.Train(CancellationToken.None));
            after = Evaluation.Run(run.Trainer.Model, device, tokens, null, new EvaluationOptions { Block = 24, MeanSpan = 2 });
            Assert.Equal(before.Tokens, after.Tokens);
        }

        Assert.True(after.Loss < 0.2 * before.Loss, $"{before.Loss} to {after.Loss}");
        Assert.True(after.Accuracy > 0.8, $"{after.Accuracy}");
        Assert.Null(after.BitsPerByte);
        Assert.True(plan.Total > plan.Weights && plan.Activations > 0);

        // The checkpoint says everything that answers need.
        using ModelSource source = ModelSource.Open(folder["run"]);
        using LanguageModel model = ModelFiles.Load(source.Folder, device);
        SpanTokens spans = model.Config.SpanTokens!;
        Assert.Equal((20, 21, "23,22"), (spans.Padding, spans.End!.Value, string.Join(',', spans.Sentinels)));
        Assert.Equal((24, 20, 24), (model.Config.VocabularySize, model.StartToken, model.Config.ContextLength));
        Assert.Equal([21], GenerationConfig.Of(source.Folder).EndTokens);
        EvaluationResult loaded = Evaluation.Run(model, device, TokenSequence.From([.. Enumerable.Range(0, 192).Select(i => (i + 7) % 20)]), null, new EvaluationOptions { MeanSpan = 2 });
        Assert.True(loaded.Accuracy > 0.8, $"{loaded.Accuracy}");

        // What was learnt is found by the decoder with kept keys as by the whole model.
        int[] prompt = [.. Enumerable.Range(0, 9), 23, .. Enumerable.Range(11, 9), 21];
        int[] answer = [.. new TextGenerator(model, device).Continue(prompt, 6, new SamplingOptions { Temperature = 0 })];
        var tape = new Tape(device) { IsRecording = false };
        List<int> whole = [model.StartToken];
        for (int i = 0; i < 6; i++)
        {
            float[] logits = model.LogitsOf(tape, new TokenBatch(prompt, 1) { DecoderTokens = whole.ToArray() }, [whole.Count - 1]).ToArray();
            whole.Add(Array.IndexOf(logits, logits.Max()));
            tape.Reset();
        }

        Assert.Equal(whole[1..], answer);
        Assert.Equal(23, answer[0]);
    }

    [Fact]
    public void EvaluationIsTheMeanLossOfTheSameSpans()
    {
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", "t5-tiny"), device);
        int[] text = [.. Enumerable.Range(0, 95).Select(i => 5 + (i * i % 41))];
        var options = new EvaluationOptions { Block = 20, MaskedFraction = 0.3, MeanSpan = 2, Seed = 9 };
        EvaluationResult result = Evaluation.Run(model, device, TokenSequence.From(text), 95, options);
        var corruption = new SpanCorruption([62, 61, 60], 1, 0, 20, 0.3, 2, 9);
        int[] inputs = new int[5 * corruption.Counts.InputLength], mask = new int[inputs.Length], targets = new int[5 * corruption.Counts.TargetLength];
        corruption.Apply(0, 0, [.. text, 0, 0, 0, 0, 0], inputs, mask, targets, [20, 20, 20, 20, 15]);
        Assert.Contains(0, mask);
        double loss = model.Loss(new Tape(device) { IsRecording = false }, new TokenBatch(inputs, 5) { Mask = mask }, targets).Item();
        Assert.Equal(targets.Count(target => target >= 0), result.Tokens);
        Assert.Equal(loss, result.Loss, 2e-6);

        // Documents that are the windows are the same.
        DocumentEnds documents = DocumentEnds.From([20, 40, 60, 80, 95], 95);
        Assert.Equal(result, Evaluation.Run(model, device, TokenSequence.From(text), 95, options, documents));
        Assert.NotEqual(result, Evaluation.Run(model, device, TokenSequence.From(text), 95, options, DocumentEnds.From([7, 40, 60, 80, 95], 95)));
    }

    /// <summary>A batch's loss does not depend on how its activations are kept, and training takes the memory that was planned.</summary>
    [Fact]
    public void RecomputationKeepsTheBitsAndThePlanHolds()
    {
        var losses = new List<float[]>();
        foreach (bool recompute in (bool[])[false, true])
        {
            TrainingSettings settings = Settings() with { Recompute = recompute, Dropout = 0.1, Warmup = 0 };
            using Dataset data = Dataset.FromText(Text(), CharTokenizer.From(Text()), 0.1, "text");
            ModelConfig config = TrainedModel.Configuration(settings, data);
            using var own = new CpuDevice(1);
            MemoryPlan plan = MemoryPlan.Of(config, settings, own);
            using LanguageModel model = TrainedModel.Create(config, settings, own);
            using var trainer = new Trainer(own, model, data, settings);
            Assert.Empty(trainer.Notes);
            losses.Add([.. Enumerable.Range(0, 4).Select(_ => trainer.Step().Loss)]);
            Assert.Equal(plan.Total, own.Pool.PeakBytes);
        }

        Assert.Equal(losses[0], losses[1]);
    }

    [Theory]
    [InlineData(1, 0.15, 3)]
    [InlineData(2, 0.15, 3)]
    [InlineData(7, 0.9, 1)]
    [InlineData(13, 0.5, 1)]
    public void AnyBlockTrains(int block, double part, double meanSpan)
    {
        TrainingSettings settings = Settings() with { Block = block, MaskedFraction = part, MeanSpan = meanSpan };
        using Dataset data = Dataset.FromText(Text(), CharTokenizer.From(Text()), 0.1, "text");
        using LanguageModel model = TrainedModel.Create(TrainedModel.Configuration(settings, data), settings, device);
        using var trainer = new Trainer(device, model, data, settings);
        Assert.True(float.IsFinite(trainer.Step().Loss));
        Assert.True(double.IsFinite(trainer.Validate(2)));
        Assert.True(double.IsFinite(Evaluation.Run(model, device, data.Validation, null, new EvaluationOptions { MaskedFraction = part, MeanSpan = meanSpan }).Loss));
    }

    /// <summary>A tokenizer that has sentinels says which they are, for fresh models and for those of a folder.</summary>
    [Fact]
    public void TheTokenizersSentinelsAreTaken()
    {
        File.WriteAllText(folder["tokenizer.json"], """
            {"model": {"type": "BPE", "vocab": {"<pad>": 0, "</s>": 1, "a": 2, "b": 3}, "merges": []},
             "added_tokens": [{"id": 0, "content": "<pad>"}, {"id": 1, "content": "</s>"}, {"id": 7, "content": "<extra_id_0>"}, {"id": 6, "content": "<extra_id_1>"}, {"id": 5, "content": "<extra_id_2>"}]}
            """);
        ITokenizer tokenizer = Tokenizers.Open(folder.Path);
        using Dataset data = Dataset.FromText(string.Concat(Enumerable.Repeat("abbaab", 100)), tokenizer, 0.1, "text");
        TrainingSettings settings = Settings() with { Block = 16 };
        ModelConfig config = TrainedModel.Configuration(settings, data);
        SpanTokens spans = config.SpanTokens!;
        Assert.Equal((0, 1, "7,6,5", 8), (spans.Padding, spans.End!.Value, string.Join(',', spans.Sentinels), config.VocabularySize));
        using (LanguageModel model = TrainedModel.Create(config.WithSpanTokens(spans with { Sentinels = [] }, 8), settings, device))
            ModelFiles.Save(folder.Path, model);
        Assert.DoesNotContain("sentinel", File.ReadAllText(folder["config.json"]), StringComparison.Ordinal);
        Assert.Equal([7, 6, 5], ModelFiles.LoadConfig(folder.Path).SpanTokens!.Sentinels);

        // Three sentinels are not enough for every setting.
        using LanguageModel loaded = ModelFiles.Load(folder.Path, device);
        string Refused(TrainingSettings wrong) => Assert.Throws<UserException>(() => new Trainer(device, loaded, data, wrong)).InFlags();
        Assert.Contains("--block 16 with --masked-fraction 0.4 and --mean-span 1.5: 4 spans are hidden, but the model has 3 sentinel tokens; use a larger --mean-span", Refused(settings with { MaskedFraction = 0.4, MeanSpan = 1.5 }), StringComparison.Ordinal);
        Assert.Contains("the decoder 17, but the model has 16 positions; use a smaller --block", Refused(settings with { MaskedFraction = 0.95, MeanSpan = 3 }), StringComparison.Ordinal);
    }

    [Fact]
    public void MistakesAreNamed()
    {
        using Dataset data = Dataset.FromText(Text(), CharTokenizer.From(Text()), 0.1, "text");
        TrainingSettings settings = Settings();
        string Refused(Func<T5Config, T5Config> change, TrainingSettings? other = null)
        {
            using LanguageModel model = change((T5Config)TrainedModel.Configuration(settings, data)).Create(new Initializer(device, 1));
            return Assert.Throws<UserException>(() => new Trainer(device, model, data, other ?? settings)).Message;
        }

        Assert.Contains("no eos_token_id", Refused(config => config with { EndToken = null }), StringComparison.Ordinal);
        Assert.Contains("must differ", Refused(config => config with { SentinelTokens = [21, 20] }), StringComparison.Ordinal);
        Assert.Contains("must differ", Refused(config => config with { SentinelTokens = [7, 7] }), StringComparison.Ordinal);
        Assert.Contains("lies outside the vocabulary of 23", Assert.Throws<UserException>(() => Refused(config => config with { SentinelTokens = [24, 7] })).Message, StringComparison.Ordinal);
        Assert.Contains("the token ids reach 19, but the model's last ids, from 19 on", Refused(config => config with { VocabularySize = 20, PadToken = 0, EndToken = 1, DecoderStartToken = 0, SentinelTokens = null }), StringComparison.Ordinal);
        Assert.Contains("mean_span", Assert.Throws<UserException>(() => TrainingSettings.Parse("""{"mean_span": 0.5}""")).Message, StringComparison.Ordinal);

        using Dataset documents = Dataset.FromDocuments(Text(), [Text().Length], CharTokenizer.From(Text()), 0.1, "text");
        using LanguageModel own = TrainedModel.Create(TrainedModel.Configuration(settings, documents), settings, device);
        Assert.Contains("--documents: T5 reads one document in a sequence; add --pad", Assert.Throws<UserException>(() => new Trainer(device, own, documents, settings with { Documents = true })).InFlags(), StringComparison.Ordinal);
    }

    private static string Text() => string.Concat(Enumerable.Repeat(Alphabet, 200));

    private TrainingSettings Settings()
    {
        File.WriteAllText(folder["text.txt"], Text());
        return Presets.Find("t5-tiny") with
        {
            Data = [folder["text.txt"]],
            Block = 16,
            Batch = 4,
            Steps = 4,
            EvalBatches = 2,
            EvalInterval = 100,
            CheckpointInterval = 0,
        };
    }
}
