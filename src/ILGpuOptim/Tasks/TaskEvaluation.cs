using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Generation;
using ILGpuOptim.Models;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Tasks;

/// <summary>Measures a causal model on tasks.</summary>
public sealed class TaskEvaluation
{
    /// <summary>The number of answers that are generated at once.</summary>
    private const int GeneratedTogether = 8;

    private readonly LanguageModel model;
    private readonly Device device;
    private readonly ITokenizer? tokenizer;
    private readonly IReadOnlyList<int> endTokens;

    /// <summary>Prepares for a model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="device">The device of the model.</param>
    /// <param name="tokenizer">The tokenizer of the model; null if there is none, for tasks of tokens only.</param>
    /// <param name="endTokens">The tokens that end a text. The first one stands before an empty context if the tokenizer has no token that texts begin with.</param>
    public TaskEvaluation(LanguageModel model, Device device, ITokenizer? tokenizer, IReadOnlyList<int> endTokens) =>
        (this.model, this.device, this.tokenizer, this.endTokens) = (model, device, tokenizer, endTokens);

    /// <summary>Measures a task.</summary>
    /// <param name="task">The questions.</param>
    /// <param name="options">How to score; null means the defaults.</param>
    /// <param name="advanced">Called with the numbers of parts that are done and of all parts: choices, or generated answers.</param>
    /// <exception cref="UserException">The model has no tokenizer or is not causal, a question does not fit it, or its logits are NaN.</exception>
    public TaskResult Run(EvaluationTask task, TaskOptions? options = null, Action<int, int>? advanced = null)
    {
        options ??= new TaskOptions();
        Ranges.Check(options);
        var scorer = new ContinuationScorer(model, device);
        if (tokenizer is null && task.Items.Count > 0)
            throw new UserException($"{task.Source}: there is no tokenizer beside the model, so it cannot read text; only llm.c's questions (.bin) need none");
        LengthUnit unit = options.Norm ?? (task.Encoded.Count > 0 ? LengthUnit.Tokens : LengthUnit.Characters);
        TaskEncoder? encoder = tokenizer is null ? null : new TaskEncoder(tokenizer, tokenizer.PromptPrefix.Count > 0 ? tokenizer.PromptPrefix : [.. endTokens.Take(1)], unit);
        if (task.Kind == TaskKind.Generation)
            return Generate(task, encoder!, options, advanced);
        if (task.Encoded.Count > 0 && unit != LengthUnit.Tokens)
            throw UserException.NamingSettings($"{nameof(options.Norm):setting} {unit.ToString().ToLowerInvariant()}: {task.Source} has tokens, not text; its lengths are tokens");
        encoder?.CheckTokens(task.Source, task.Encoded);
        IReadOnlyList<EncodedItem> items = task.Encoded.Count > 0 ? task.Encoded : [.. task.Items.Select(encoder!.Encode)];
        int all = items.Sum(item => item.Choices.Count);
        ContinuationScore[][] scores = scorer.Score(items, done => advanced?.Invoke(done, all));
        return new TaskResult(task, [.. items.Select((item, i) => Predict(task.Kind, item, scores[i]))]) { Norm = task.Kind == TaskKind.Choice ? unit : null, Cut = scorer.Cut };
    }

    private static TaskPrediction Predict(TaskKind kind, EncodedItem item, ContinuationScore[] scores)
    {
        double[] sums = [.. scores.Select(score => score.LogProbability)];
        int[] lengths = [.. item.Choices.Select(choice => choice.Length)];
        if (kind == TaskKind.Continuation)
            return new TaskPrediction(item.Place, sums, lengths, null, null, null, item.Answer) { IsCorrect = scores[0].IsGreedy };
        int best = First(sums), normalized = First([.. sums.Select((sum, i) => sum / lengths[i])]);
        return new TaskPrediction(item.Place, sums, lengths, best, normalized, null, item.Answer) { IsCorrect = best == item.Answer };
    }

    /// <summary>The first index of the maximum.</summary>
    private static int First(double[] values) => Array.IndexOf(values, values.Max());

    private TaskResult Generate(EvaluationTask task, TaskEncoder encoder, TaskOptions options, Action<int, int>? advanced)
    {
        int count = Math.Min(options.Tokens, model.Config.ContextLength - 1), cut = 0;
        var prompts = new int[task.Items.Count][];
        for (int i = 0; i < prompts.Length; i++)
        {
            int[] prompt = encoder.Prompt(task.Items[i]);
            cut += prompt.Length > model.Config.ContextLength - count ? 1 : 0;
            prompts[i] = prompt[Math.Max(0, prompt.Length - (model.Config.ContextLength - count))..];
        }

        var predictions = new TaskPrediction[prompts.Length];
        int done = 0;
        foreach (int[] group in Enumerable.Range(0, prompts.Length).OrderByDescending(i => prompts[i].Length).Chunk(GeneratedTogether))
        {
            string[] texts = Continue([.. group.Select(i => prompts[i])], count, options.Stops);
            for (int k = 0; k < group.Length; k++)
            {
                TaskItem item = task.Items[group[k]];
                string text = texts[k].Trim();
                predictions[group[k]] = new TaskPrediction(item.Place, [], [], null, null, text, 0) { IsCorrect = item.Continuations.Any(answer => answer.Trim() == text) };
            }

            advanced?.Invoke(done += group.Length, prompts.Length);
        }

        return new TaskResult(task, predictions) { Cut = cut };
    }

    /// <summary>The greedy continuations of prompts, until a stop string, an end token or the most tokens.</summary>
    private string[] Continue(int[][] prompts, int count, IReadOnlyList<string> stops)
    {
        TextStream[] streams = [.. prompts.Select(prompt => new TextStream(tokenizer!, prompt, stops))];
        string[] texts = [.. prompts.Select(_ => "")];
        using GenerationBatch batch = new TextGenerator(model, device).Start(prompts, count, new SamplingOptions { Temperature = 0 });
        while (!batch.IsFinished)
        {
            batch.Advance();
            foreach (GeneratedToken token in batch.Drawn)
            {
                bool ends = endTokens.Contains(token.Id);
                texts[token.Sample] += ends ? "" : streams[token.Sample].Append(token.Id);
                if (ends || streams[token.Sample].Stopped)
                    batch.End(token.Sample);
            }
        }

        for (int i = 0; i < texts.Length; i++)
            texts[i] += streams[i].Finish();
        return texts;
    }
}
