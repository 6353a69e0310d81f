using System.Text.Json;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Tests.Cli;
using ILGpuOptim.Training;
using static ILGpuOptim.Tests.Cli.Tool;

namespace ILGpuOptim.Tests.Training;

/// <summary>Documents that are kept apart: packed and padded, trained and evaluated.</summary>
public sealed class DocumentTrainingTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>The loss of packed documents is that of each of them alone.</summary>
    [Theory]
    [InlineData("tiny")]
    [InlineData("llama-tiny")]
    public void EvaluationKeepsDocumentsApart(string preset)
    {
        using var device = new CpuDevice(2);
        using LanguageModel model = ModelOf(preset, device);
        (TokenSequence tokens, DocumentEnds ends) = Documents(30, longest: 40);
        double sum = 0;
        long count = 0;
        for (long i = 0, start = 0; i < ends.Count; start = ends.EndOf(i), i++)
        {
            long length = ends.EndOf(i) - start;
            if (length < 2)
                continue;
            EvaluationResult one = Evaluation.Run(model, device, tokens.Slice(start, length), null, new EvaluationOptions { Block = 63 });
            (sum, count) = (sum + (one.Loss * one.Tokens), count + one.Tokens);
        }

        // A window of everything cuts no document.
        Assert.InRange(tokens.Length, 100, 1024);
        EvaluationResult apart = Evaluation.Run(model, device, tokens, 500, new EvaluationOptions { Block = 64, Stride = 1 }, ends);
        Assert.Equal((count, null), (apart.Tokens, apart.BitsPerByte));
        Assert.Equal(sum / count, apart.Loss, 2e-6);
        EvaluationResult mixed = Evaluation.Run(model, device, tokens, null, new EvaluationOptions { Block = 64, Stride = 1 });
        Assert.NotEqual(mixed.Loss, apart.Loss, 1e-3);
    }

    /// <summary>
    /// Windows of one document each, padded: the loss of a batch is the mean over the predicted tokens of its documents, each alone. Documents that are
    /// packed in one window give the same mean.
    /// </summary>
    [Theory]
    [InlineData("tiny")]
    [InlineData("llama-tiny")]
    [InlineData("bert-tiny")]
    public void PaddingChangesNoLoss(string preset)
    {
        using var device = new CpuDevice(2);
        using LanguageModel model = ModelOf(preset, device);
        int[] lengths = [5, 1, 9, 12, 2], inputs = new int[5 * 12], targets = new int[5 * 12], mask = new int[5 * 12];
        var random = new Random(3);
        targets.AsSpan().Fill(-1);
        int[] packed = new int[lengths.Sum()], packedTargets = new int[packed.Length], numbers = new int[packed.Length];
        double sum = 0;
        int counted = 0;
        var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        for (int row = 0, at = 0; row < 5; at += lengths[row], row++)
        {
            for (int i = 0; i < lengths[row]; i++)
            {
                (inputs[(row * 12) + i], targets[(row * 12) + i], mask[(row * 12) + i]) = (random.Next(30), i % 3 == 1 || lengths[row] == 1 ? random.Next(30) : -1, 1);
                (packed[at + i], packedTargets[at + i], numbers[at + i]) = (inputs[(row * 12) + i], targets[(row * 12) + i], row);
            }

            int[] own = targets[(row * 12)..((row * 12) + lengths[row])];
            int here = own.Count(target => target >= 0);
            sum += here * (double)model.Loss(tape, new TokenBatch(inputs.AsSpan(row * 12, lengths[row]), 1), own).Item();
            counted += here;
            tape.Reset();
        }

        // What padding holds does not matter.
        foreach (int padding in (int[])[0, 7])
        {
            for (int i = 0; i < inputs.Length; i++)
                inputs[i] = mask[i] == 0 ? padding : inputs[i];
            Assert.Equal(sum / counted, model.Loss(tape, new TokenBatch(inputs, 5) { Mask = mask }, targets).Item(), 2e-6);
            tape.Reset();
        }

        Assert.Equal(sum / counted, model.Loss(tape, new TokenBatch(packed, 1) { Documents = numbers }, packedTargets).Item(), 2e-6);
    }

    [Theory]
    [InlineData("tiny", false, 32)]
    [InlineData("tiny", true, 32)]
    [InlineData("llama-tiny", false, 32)]
    [InlineData("llama-tiny", true, 64)]
    [InlineData("bert-tiny", false, 32)]
    [InlineData("bert-tiny", true, 32)]
    [InlineData("t5-tiny", true, 32)]
    public void RunsGoOnExactly(string preset, bool pads, int block)
    {
        WriteTokens(300, longest: 20, preset);
        using var device = new CpuDevice(2);
        TrainingSettings settings = Presets.Find(preset) with
        {
            Data = [folder["tokens"]],
            Documents = true,
            Pad = pads,
            Block = block,
            Batch = 4,
            Steps = 60,
            Warmup = 0,
            EvalBatches = 2,
            EvalInterval = 20,
            CheckpointInterval = 0,
            Model = ConfigOf(preset, 31, block),
            Optimizer = new OptimizerSettings { Name = "adamw", LearningRate = 0.01 },
        };
        using (TrainingRun run = TrainingRun.Begin(folder["whole"], settings, device))
        {
            Assert.True(run.Train(CancellationToken.None));
            Assert.Empty(run.Notes);
        }

        using (TrainingRun run = TrainingRun.Begin(folder["parts"], settings, device))
        {
            using var stop = new CancellationTokenSource();
            run.Stepped = result =>
            {
                if (result.Step == 30)
                    stop.Cancel();
            };
            Assert.False(run.Train(stop.Token));
        }

        using (TrainingRun run = TrainingRun.Resume(folder["parts"], _ => device))
            Assert.True(run.Train(CancellationToken.None));
        string[] Lines(string run) => MetricLines.Updates(folder[run]);
        Assert.Equal(Lines("whole"), Lines("parts"));
        double Loss(string line) => JsonDocument.Parse(line).RootElement.GetProperty("loss").GetDouble();
        Assert.True(Lines("whole")[^10..].Average(Loss) < (preset is "bert-tiny" or "t5-tiny" ? 1 : 0.8) * Lines("whole")[..5].Average(Loss));

        // Other ends are other data.
        File.Delete(folder["tokens", "ilgpuoptim-files.json"]);
        File.Delete(folder["tokens", "train.ends"]);
        Assert.Contains("as before, but other ends of documents", Assert.Throws<UserException>(() => TrainingRun.Resume(folder["parts"], _ => device, saved => saved with { Steps = 61 })).Message, StringComparison.Ordinal);
        using (TrainingRun run = TrainingRun.Resume(folder["parts"], _ => device, saved => saved with { Steps = 61, Documents = false, Pad = false }))
            Assert.True(run.Train(CancellationToken.None));
    }

    [Fact]
    public void SettingsThatCannotWorkAreNamed()
    {
        using var device = new CpuDevice(1);
        WriteTokens(50, longest: 1, "tiny");
        TrainingSettings settings = Presets.Find("tiny") with { Data = [folder["tokens"]], Block = 4, Pad = true };
        string Message(TrainingSettings wrong) => Assert.Throws<UserException>(() => TrainingRun.Begin(folder["run"], wrong, device)).InFlags();
        Assert.Contains("add --documents", Message(settings), StringComparison.Ordinal);
        Assert.Contains("there is nothing to train on, since no document has two tokens", Message(settings with { Documents = true }), StringComparison.Ordinal);
        Assert.Contains("there is nothing to train on, since no document has two tokens", Message(settings with { Documents = true, Pad = false }), StringComparison.Ordinal);
        using LanguageModel model = ModelOf("tiny", device);
        using Dataset data = Dataset.FromTokens(TokenSequence.From(new int[200]), 31, null, 0.1, "zeros");
        Assert.Contains("needs the ends of documents", Assert.Throws<UserException>(() => new Trainer(device, model, data, settings with { Documents = true })).Message, StringComparison.Ordinal);
    }

    /// <summary>Padded windows may be larger than all of the data.</summary>
    [Fact]
    public void AWindowMayBeLargerThanTheData()
    {
        using var device = new CpuDevice(1);
        using LanguageModel model = ModelOf("tiny", device);
        using Dataset data = Dataset.FromTokens(TokenSequence.From([1, 2, 3, 4, 5, 6]), 31, null, 0, "six", DocumentEnds.From([2, 3, 6], 6));
        TrainingSettings settings = Presets.Find("tiny") with { Block = 64, Batch = 2, Documents = true, Pad = true, Steps = 20, Warmup = 0 };
        using var trainer = new Trainer(device, model, data, settings);
        float first = trainer.Step().Loss, last = 0;
        while (trainer.StepNumber < 20)
            last = trainer.Step().Loss;
        Assert.True(last < first);
        Assert.Equal(20, trainer.EpochsAfter(20));
        Assert.Contains("too few for a block of 64", Assert.Throws<UserException>(() => new Trainer(device, model, data, settings with { Pad = false })).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TheToolKeepsDocumentsApart()
    {
        File.WriteAllText(folder["docs.jsonl"], string.Concat(Enumerable.Range(0, 200).Select(i => $"{{\"text\": \"{new string((char)('a' + (i % 5)), 3 + (i % 9))} {i % 7}\"}}\n")));
        Assert.Equal(0, Run("prepare", "--data", folder["docs.jsonl"], "--tokenizer", "byte", "--end", "10", "--out", folder["tokens"]).Code);
        Assert.True(File.Exists(folder["tokens", "train.ends"]) && File.Exists(folder["tokens", "val.ends"]));
        string[] train = ["train", "--preset", "tiny", "--data", folder["tokens"], "--steps", "20", "--eval-batches", "2", "--block", "24", "--batch", "4"];
        Outcome packed = Run([.. train, "--documents", "--out", folder["packed"]]);
        Assert.Equal((0, ""), (packed.Code, packed.Error));
        Assert.Contains("documents  180 to train on, 20 to validate with", packed.Output, StringComparison.Ordinal);
        Outcome padded = Run([.. train, "--documents", "--pad", "--out", folder["padded"]]);
        Assert.Equal((0, ""), (padded.Code, padded.Error));
        Assert.Contains("padded", padded.Output, StringComparison.Ordinal);
        Assert.Contains("add --documents", Run([.. train, "--pad", "--out", folder["wrong"]]).Error, StringComparison.Ordinal);

        string validation = folder["tokens", "val.bin"];
        JsonElement Eval(params string[] arguments)
        {
            Outcome outcome = Run(["eval", .. arguments, "--json"]);
            Assert.Equal((0, ""), (outcome.Code, outcome.Error));
            return JsonDocument.Parse(outcome.Output).RootElement;
        }

        JsonElement own = Eval(folder["packed"]), named = Eval(folder["packed"], "--data", validation, "--documents"), flagged = Eval("--documents", folder["packed"]);
        Assert.Equal(own.ToString(), named.ToString());
        Assert.Equal(own.ToString(), flagged.ToString());
        JsonElement mixed = Eval(folder["packed"], "--documents", "false");
        Assert.Equal(19, mixed.GetProperty("tokens").GetInt64() - own.GetProperty("tokens").GetInt64());
        Assert.Equal(JsonValueKind.Null, own.GetProperty("bits_per_byte").ValueKind);

        // Text and token files without ends say how their documents were found.
        File.WriteAllText(folder["a.txt"], "aaa 1");
        File.WriteAllText(folder["b.txt"], "bbb 2\n");
        Outcome text = Run("eval", folder["packed"], "--data", folder["a.txt"], folder["b.txt"], "--documents");
        Assert.Contains("each text file is one document", text.Error, StringComparison.Ordinal);
        Assert.Contains("tokens         10", text.Output, StringComparison.Ordinal);
        Assert.Contains("--documents", Run("train", "--help").Output, StringComparison.Ordinal);
    }

    private static ModelConfig? ConfigOf(string preset, int vocabulary, int context) => Presets.Find(preset).Model switch
    {
        LlamaConfig llama => llama with { VocabularySize = vocabulary, ContextLength = context, HiddenSize = 32, IntermediateSize = 64, Layers = 2, Heads = 2, KeyHeads = 1 },
        BertConfig bert => bert with { VocabularySize = vocabulary, ContextLength = context, HiddenSize = 32, IntermediateSize = 64, Layers = 2, Heads = 2, MaskToken = 30 },
        T5Config t5 => t5 with { VocabularySize = vocabulary, ContextLength = context, HiddenSize = 32, HeadSize = 16, IntermediateSize = 64, Layers = 2, Heads = 2 },
        _ => new Gpt2Config { VocabularySize = vocabulary, ContextLength = context, Layers = 2, Heads = 2, HiddenSize = 32 },
    };

    private static LanguageModel ModelOf(string preset, Device device)
    {
        LanguageModel model = ConfigOf(preset, 31, 64)!.Create(new Initializer(device, 1));

        // Larger weights, so that what a token sees matters.
        foreach (Parameter parameter in model.Parameters.Where(parameter => parameter.Columns > 1 && parameter.Rows > 1))
            parameter.Load([.. parameter.ToArray().Select(value => 8 * value)]);
        return model;
    }

    private static (TokenSequence Tokens, DocumentEnds Ends) Documents(int count, int longest)
    {
        var random = new Random(count);
        var ids = new List<int>();
        var ends = new List<long>();
        for (int i = 0; i < count; i++)
        {
            int letter = random.Next(25), length = random.Next(4) == 0 ? 1 : random.Next(1, longest + 1);
            ids.AddRange(Enumerable.Range(0, length).Select(j => (letter + (j % 3)) % 30));
            ends.Add(ids.Count);
        }

        return (TokenSequence.From([.. ids]), DocumentEnds.From([.. ends], ids.Count));
    }

    private void WriteTokens(int count, int longest, string name)
    {
        Directory.CreateDirectory(folder["tokens"]);
        (TokenSequence tokens, DocumentEnds ends) = Documents(count, longest);
        foreach (string file in (string[])["train.bin", "val.bin"])
        {
            using var writer = new TokenFileWriter(folder["tokens", file], TokenFormat.Plain);
            for (long i = 0, start = 0; i < ends.Count; start = ends.EndOf(i), i++)
            {
                writer.Append(tokens.Slice(start, ends.EndOf(i) - start).ToArray());
                writer.EndDocument();
            }

            if (name == "bert-tiny")
                writer.Append([30]);
            writer.Finish();
        }
    }
}
