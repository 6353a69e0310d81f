using System.Buffers.Binary;
using System.Text;
using System.Text.Json;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;
using ILGpuOptim.Tasks;

namespace ILGpuOptim.Tests.Tasks;

public sealed class TaskEvaluationTests : IDisposable
{
    private readonly CpuDevice device = new(2);
    private readonly TemporaryFolder folder = new();

    public void Dispose()
    {
        device.Dispose();
        folder.Dispose();
    }

    /// <summary>Goldens/tasks was computed question by question in PyTorch, in float64.</summary>
    [Fact]
    public void QuestionsOfLlmCAgreeWithPyTorch()
    {
        using LanguageModel model = Load("models", "gpt2-tiny");
        EvaluationTask task = EvaluationTask.Open(Goldens.Folder("tasks", "questions.bin"));
        TaskResult result = new TaskEvaluation(model, device, null, []).Run(task);
        using var expected = JsonDocument.Parse(File.ReadAllBytes(Goldens.Folder("tasks", "expected.json")));
        double Expected(string name) => expected.RootElement.GetProperty(name).GetDouble();
        Assert.Equal(Expected("acc"), result.Accuracy.Mean, 1e-12);
        Assert.Equal(Expected("acc_stderr"), result.Accuracy.StandardError!.Value, 1e-12);
        Assert.Equal(Expected("acc_norm"), result.NormalizedAccuracy!.Mean, 1e-12);
        Assert.Equal(Expected("acc_norm_stderr"), result.NormalizedAccuracy.StandardError!.Value, 1e-12);
        Assert.Equal((LengthUnit.Tokens, 40, 3), (result.Norm, result.Predictions.Count, result.Cut));
        double[][] sums = [.. expected.RootElement.GetProperty("log_probabilities").EnumerateArray().Select(item => item.EnumerateArray().Select(value => value.GetDouble()).ToArray())];
        for (int i = 0; i < sums.Length; i++)
        {
            for (int k = 0; k < 4; k++)
                Assert.Equal(sums[i][k], result.Predictions[i].LogProbabilities[k], 2e-5);
        }
    }

    /// <summary>A batch of many choices gives what each choice gives alone, also where rotary frequencies depend on the length of a sequence.</summary>
    [Theory]
    [InlineData("models", "gpt2-tiny")]
    [InlineData("models", "gemma3-tiny")]
    [InlineData("models", "mixtral-tiny")]
    [InlineData("variants", "llama-dynamic-long-bf16")]
    [InlineData("variants", "phi3-partial-longrope-padding")]
    public void BatchesGiveWhatEachChoiceGivesAlone(string kind, string name)
    {
        using LanguageModel model = Load(kind, name);
        var random = new Random(3);
        int[] Ids(int most) => [.. Enumerable.Range(0, random.Next(1, most)).Select(_ => random.Next(model.Config.VocabularySize))];
        int positions = model.Config.ContextLength;
        EncodedItem[] items = [.. Enumerable.Range(0, 12).Select(i =>
        {
            int[] context = Ids(Math.Min(positions, 60));
            int[][] choices = i % 3 == 0 ? [[1], [2], [2, 3]] : [Ids(9), Ids(9), Ids(9), Ids(9)];
            return new EncodedItem($"question {i}", [.. choices.Select(choice => new EncodedChoice(context, choice, 1))], 0);
        })];
        ContinuationScore[][] scores = new ContinuationScorer(model, device).Score(items);
        var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        for (int i = 0; i < items.Length; i++)
        {
            for (int k = 0; k < items[i].Choices.Count; k++)
            {
                EncodedChoice choice = items[i].Choices[k];
                int[] ids = [.. choice.Context, .. choice.Continuation], inputs = ids[..^1][^Math.Min(positions, ids.Length - 1)..];
                int[] targets = [.. Enumerable.Repeat(-1, inputs.Length - choice.Continuation.Length), .. choice.Continuation];
                double sum = -model.Losses(tape, new TokenBatch(inputs, 1), targets).CrossEntropy.Item() * (double)choice.Continuation.Length;
                tape.Reset();
                Assert.Equal(sum, scores[i][k].LogProbability, 2e-4);
            }
        }
    }

    [Fact]
    public void OnlyTheMostProbableTokensAreGreedy()
    {
        using LanguageModel model = Load("models", "llama-tiny");
        var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        int[] context = [5, 9, 30];
        int best = (int)tape.ArgMax(model.LogitsOf(tape, new TokenBatch(context, 1), [2])).Item(), second = (int)tape.ArgMax(model.LogitsOf(tape, new TokenBatch([.. context, best], 1), [3])).Item();
        EncodedItem Item(params int[] continuation) => new("q", [new EncodedChoice(context, continuation, 1)], 0);
        ContinuationScore[][] scores = new ContinuationScorer(model, device).Score([Item(best), Item(best, second), Item(best, second + 1), Item(best + 1)]);
        Assert.Equal([true, true, false, false], scores.Select(score => score[0].IsGreedy));
    }

    /// <summary>White space at a border belongs to the continuation's first token.</summary>
    [Fact]
    public void ContinuationsAreEncodedWithTheirContext()
    {
        ITokenizer tokenizer = Tokenizers.Open("cl100k");
        var encoder = new TaskEncoder(tokenizer, [7], LengthUnit.Characters);
        foreach ((string context, string delimiter) in new[] { ("The answer is", " "), ("The answer is ", "") })
        {
            EncodedItem item = encoder.Encode(new TaskItem { Contexts = [context], Continuations = ["yes", "a naïve 𝄞"], Delimiter = delimiter });
            Assert.Equal(tokenizer.Encode("The answer is"), item.Choices[0].Context);
            Assert.Equal(tokenizer.Encode(" yes"), item.Choices[0].Continuation);
            Assert.Equal([3, 9], item.Choices.Select(choice => choice.Length));
        }

        Assert.Equal([7], encoder.Encode(new TaskItem { Contexts = [""], Continuations = ["yes", "no"], Delimiter = "" }).Choices[0].Context);
        Assert.Equal([3, 13], new TaskEncoder(tokenizer, [], LengthUnit.Bytes).Encode(new TaskItem { Contexts = ["A"], Continuations = ["yes", "a naïve 𝄞"] }).Choices.Select(choice => choice.Length));
    }

    /// <summary>A token across the border: the tokens before the first that differs are the context.</summary>
    [Fact]
    public void ATokenAcrossTheBorderBelongsToTheContinuation()
    {
        EncodedChoice choice = new TaskEncoder(new Pairs(), [], LengthUnit.Characters).Encode(new TaskItem { Contexts = ["xya"], Continuations = ["b"], Delimiter = "" }).Choices[0];
        Assert.Equal((int[])['x', 'y'], choice.Context);
        Assert.Equal([1000], choice.Continuation);
    }

    [Fact]
    public void GreedyAnswersAreCompared()
    {
        using LanguageModel model = Load("models", "gpt2-tiny");
        var letters = new CharTokenizer([.. Enumerable.Range('!', model.Config.VocabularySize).Select(code => new Rune((char)code))]);
        TaskResult Run(string answer, TaskOptions options)
        {
            File.WriteAllText(folder["g.jsonl"], string.Concat(Enumerable.Repeat($$"""{"prompt": "ABC", "answer": ["never", {{JsonSerializer.Serialize(answer)}}]}""" + "\n", 3)));
            return new TaskEvaluation(model, device, letters, []).Run(EvaluationTask.Open(folder["g.jsonl"], options), options);
        }

        string text = Run("?", new TaskOptions { Tokens = 6 }).Predictions[0].Text!;
        Assert.Equal(6, text.Length);
        Assert.Equal((1.0, 0.0), (Run($" {text} ", new TaskOptions { Tokens = 6 }).Accuracy.Mean, Run(text + "!", new TaskOptions { Tokens = 6 }).Accuracy.Mean));
        string stop = text[^1..];
        Assert.Equal(text[..text.IndexOf(stop, StringComparison.Ordinal)], Run("?", new TaskOptions { Tokens = 6, Stops = [stop] }).Predictions[0].Text);
    }

    [Fact]
    public void MistakesAreNamed()
    {
        using LanguageModel gpt = Load("models", "gpt2-tiny"), bert = Load("models", "bert-tiny"), t5 = Load("models", "t5-tiny");
        string Refused(LanguageModel model, EncodedItem item) => Assert.Throws<UserException>(() => new ContinuationScorer(model, device).Score([item])).Message;
        var item = new EncodedItem("here", [new EncodedChoice([1], [2], 1), new EncodedChoice([1], [3], 1)], 0);
        Assert.Contains("causal", Refused(bert, item), StringComparison.Ordinal);
        Assert.Contains("causal", Refused(t5, item), StringComparison.Ordinal);
        Assert.Contains("here has the token 101", Refused(gpt, item with { Choices = [new EncodedChoice([1], [101], 1)] }), StringComparison.Ordinal);
        Assert.Contains("33 tokens", Refused(gpt, item with { Choices = [new EncodedChoice([1], new int[33], 1)] }), StringComparison.Ordinal);
        EvaluationTask binary = EvaluationTask.Open(Goldens.Folder("tasks", "questions.bin"));
        Assert.Contains("another tokenizer", Assert.Throws<UserException>(() => new TaskEvaluation(gpt, device, Tokenizers.Open("cl100k"), []).Run(binary)).Message, StringComparison.Ordinal);
        Assert.Contains("lengths are tokens", Assert.Throws<UserException>(() => new TaskEvaluation(gpt, device, null, []).Run(binary, new TaskOptions { Norm = LengthUnit.Bytes })).Message, StringComparison.Ordinal);
        File.WriteAllText(folder["t.jsonl"], """{"text": "a b"}""");
        Assert.Contains("no tokenizer", Assert.Throws<UserException>(() => new TaskEvaluation(gpt, device, null, []).Run(EvaluationTask.Open(folder["t.jsonl"]))).Message, StringComparison.Ordinal);
        gpt.Parameters[0].Load([.. Enumerable.Repeat(float.NaN, (int)gpt.Parameters[0].Length)]);
        Assert.Contains("NaN", Refused(gpt, item), StringComparison.Ordinal);
    }

    /// <summary>Each 16-bit integer of a question but its tokens is checked, and so is each of the header.</summary>
    [Fact]
    public void DamagedQuestionsAreRefused()
    {
        byte[] whole = File.ReadAllBytes(Goldens.Folder("tasks", "questions.bin"));
        string Refused(byte[] bytes)
        {
            File.WriteAllBytes(folder["q.bin"], bytes);
            return Assert.Throws<UserException>(() => EvaluationTask.Open(folder["q.bin"])).Message;
        }

        foreach (int place in (int[])[0, 4, 8, 12, 1024, 1026, 1028, 1030, 1032, 1034])
        {
            byte[] damaged = [.. whole];
            BinaryPrimitives.WriteUInt16LittleEndian(damaged.AsSpan(place), (ushort)(BinaryPrimitives.ReadUInt16LittleEndian(damaged.AsSpan(place)) ^ 0x1FF));
            Assert.Contains("q.bin", Refused(damaged), StringComparison.Ordinal);
        }

        foreach (int length in (int[])[0, 3, 1023, 1024, 1025, 1030, whole.Length - 1, whole.Length - 2])
            Assert.Contains("q.bin", Refused(whole[..length]), StringComparison.Ordinal);
        Assert.Contains("a task", Refused([.. BitConverter.GetBytes(20240520), .. whole[4..]]), StringComparison.Ordinal);
    }

    private LanguageModel Load(string kind, string name) => ModelFiles.Load(Goldens.Folder(kind, name), device);

    /// <summary>A token for each character, and one for the pair "ab".</summary>
    private sealed class Pairs : ITokenizer
    {
        public string Kind => "pairs";

        public int VocabularySize => 1001;

        public int[] Encode(ReadOnlySpan<char> text) => [.. text.ToString().Replace("ab", "\u03e8", StringComparison.Ordinal).Select(c => (int)c)];

        public string Decode(ReadOnlySpan<int> ids) => throw new NotSupportedException();

        public void Save(string folder) => throw new NotSupportedException();
    }
}
