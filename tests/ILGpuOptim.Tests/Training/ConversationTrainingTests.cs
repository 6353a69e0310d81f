using System.Text.Json;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Data.ChatTemplates;
using ILGpuOptim.Tests.Cli;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

public sealed class ConversationTrainingTests : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly CpuDevice device = new(threads: 1);

    public ConversationTrainingTests()
    {
        var random = new Random(5);
        File.WriteAllLines(folder["data.jsonl"], Enumerable.Range(0, 30).Select(i =>
            $$"""{"messages": [{"role": "user", "content": "{{new string('q', random.Next(1, 9))}}"}, {"role": "assistant", "content": "{{new string((char)('a' + (i % 3)), random.Next(1, 25))}}"}]}"""));
    }

    private TrainingSettings Settings => new()
    {
        Data = [folder["data.jsonl"]],
        Layers = 1,
        Heads = 1,
        HiddenSize = 8,
        Block = 160,
        Batch = 2,
        Steps = 6,
        Warmup = 1,
        EvalInterval = 3,
        EvalBatches = 2,
        CheckpointInterval = 3,
    };

    [Fact]
    public void AccumulatedBatchesGiveTheMeanOverAllTokensOfAnswers()
    {
        float[] together = Losses(Settings with { Batch = 4 }), apart = Losses(Settings with { Batch = 1, Accumulate = 4 });
        for (int i = 0; i < together.Length; i++)
            Assert.Equal(together[i], apart[i], 2e-6f * together[i]);
    }

    [Fact]
    public void OneConversationPerWindowGivesTheSameFirstLossesOverAnEpochAsPackedOnes()
    {
        // A batch of all windows is an epoch; its loss is the mean over all tokens of answers, however they are packed.
        float packed = Losses(Settings with { Block = 400, Batch = Windows(Settings with { Block = 400 }), Steps = 1 })[0];
        float single = Losses(Settings with { Pad = true, Documents = true, Block = 400, Batch = 27, Steps = 1 })[0];
        Assert.Equal(packed, single, 2e-6f * packed);
    }

    [Fact]
    public void ARunResumesExactlyAndKeepsItsTemplate()
    {
        File.WriteAllText(folder["own.jinja"], "{% for m in messages %}[{{ m.role }}]{{ m.content }}<end>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}");
        TrainingSettings settings = Settings with { ChatTemplate = folder["own.jinja"] };
        var whole = new List<float>();
        using (TrainingRun run = TrainingRun.Begin(folder["whole"], settings, device))
        {
            run.Stepped = result => whole.Add(result.Loss);
            Assert.True(run.Train(CancellationToken.None));
            Assert.Contains("<end>", run.Data.Tokenizer!.Decode(run.Data.Training.ToArray()), StringComparison.Ordinal);
            Assert.True(double.IsFinite(run.Trainer.Validate(2)));
        }

        using (TrainingRun run = TrainingRun.Begin(folder["parts"], settings, device))
        {
            using var stop = new CancellationTokenSource();
            run.Stepped = result => { if (result.Step == 3) stop.Cancel(); };
            Assert.False(run.Train(stop.Token));
        }

        File.Delete(folder["own.jinja"]);
        var rest = new List<float>();
        using (TrainingRun run = TrainingRun.Resume(folder["parts"], _ => device))
        {
            run.Stepped = result => rest.Add(result.Loss);
            Assert.True(run.Train(CancellationToken.None));
        }

        Assert.Equal(whole[3..], rest);
        string checkpoint = TrainingRun.ModelFolder(folder["parts"]);
        Assert.Contains("<end>", ChatTemplate.Load(checkpoint)!.Text, StringComparison.Ordinal);
        Assert.Equal(0, ILGpuOptim.Cli.CommandLine.Run("merge", folder["parts"], folder["merged"]));
        Assert.Equal(ChatTemplate.Load(checkpoint)!.Text, ChatTemplate.Load(folder["merged"])!.Text);
    }

    [Fact]
    public void AnswersThatChangedAreOtherData()
    {
        const string Turns = """{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "weight": 1, "content": "a"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}""";
        string rest = File.ReadAllText(folder["data.jsonl"]);
        File.WriteAllText(folder["data.jsonl"], Turns + "\n" + rest);
        using (TrainingRun run = TrainingRun.Begin(folder["run"], Settings with { Steps = 1 }, device))
            run.Train(CancellationToken.None);
        TrainingRun.Resume(folder["run"], _ => device).Dispose();

        // The same text, of which one answer is not trained on.
        File.WriteAllText(folder["data.jsonl"], Turns.Replace("\"weight\": 1", "\"weight\": 0", StringComparison.Ordinal) + "\n" + rest);
        Assert.Contains("the data changed", Assert.Throws<UserException>(() => TrainingRun.Resume(folder["run"], _ => device)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ModelsThatPredictMaskedTokensAreRefused()
    {
        TrainingSettings settings = Settings with { Model = ILGpuOptim.Models.ModelConfig.Find("bert-char"), Layers = null, Heads = null, HiddenSize = null };
        Assert.Contains("conversations are for models that continue a text", Assert.Throws<UserException>(() => TrainingRun.Begin(folder["run"], settings, device)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ATemplateWithoutConversationsIsRefused()
    {
        File.WriteAllText(folder["text.txt"], new string('a', 1000));
        UserException error = Assert.Throws<UserException>(() => TrainingRun.Begin(folder["run"], Settings with { Data = [folder["text.txt"]], ChatTemplate = "chatml" }, device));
        Assert.Contains("the data holds no conversations", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void MemoryIsPredictedToTheByte()
    {
        using TrainingRun run = TrainingRun.Begin(folder["run"], Settings, device);
        device.Pool.ResetPeak();
        run.Trainer.Step();
        run.Trainer.Step();
        Assert.Equal(run.Plan.Total, device.Pool.PeakBytes);
    }

    [Fact]
    public void EvalMeasuresTheTokensOfAnswers()
    {
        using (TrainingRun run = TrainingRun.Begin(folder["run"], Settings with { Steps = 2 }, device))
        {
            run.Train(CancellationToken.None);
            Dataset data = run.Data;
            EvaluationResult all = Evaluation.RunAnswers(run.Trainer.Model, device, data.Training, data.TrainingAnswers!, data.TrainingDocuments!);
            Assert.Equal(data.TrainingAnswers!.ToArray().Count(answer => answer == 1), all.Tokens);

            // Each conversation alone has the same loss as among others.
            double sum = 0;
            long start = 0, tokens = 0;
            for (int i = 0; i < data.TrainingDocuments!.Count; i++)
            {
                long end = data.TrainingDocuments.EndOf(i);
                EvaluationResult one = Evaluation.RunAnswers(run.Trainer.Model, device, data.Training.Slice(start, end - start), data.TrainingAnswers.Slice(start, end - start), DocumentEnds.One(end - start));
                sum += one.Loss * one.Tokens;
                tokens += one.Tokens;
                start = end;
            }

            Assert.Equal(sum / tokens, all.Loss, 1e-5);
        }

        Outcome outcome = Tool.Run("eval", folder["run"], "--data", folder["data.jsonl"], "--json");
        Assert.Equal(0, outcome.Code);
        long answers = File.ReadLines(folder["data.jsonl"]).Sum(line => JsonDocument.Parse(line).RootElement.GetProperty("messages")[1].GetProperty("content").GetString()!.Length + "<|im_end|>".Length);
        Assert.Equal(answers, JsonDocument.Parse(outcome.Output).RootElement.GetProperty("tokens").GetInt64());
        Assert.Contains("--stride is for running text", Tool.Run("eval", folder["run"], "--stride", "3").Error, StringComparison.Ordinal);
    }

    private int Windows(TrainingSettings settings)
    {
        using TrainingRun run = TrainingRun.Begin(folder[Guid.NewGuid().ToString()], settings, device);
        return (int)Math.Round(1 / run.Trainer.EpochsAfter(1) * settings.Batch);
    }

    private float[] Losses(TrainingSettings settings)
    {
        using TrainingRun run = TrainingRun.Begin(folder[Guid.NewGuid().ToString()], settings, device);
        return [.. Enumerable.Range(0, settings.Steps).Select(_ => run.Trainer.Step().Loss)];
    }

    public void Dispose()
    {
        device.Dispose();
        folder.Dispose();
    }
}
