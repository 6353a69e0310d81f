using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Tasks;

/// <summary>The score of a continuation.</summary>
/// <param name="LogProbability">The sum of the log-probabilities of its tokens, in nats.</param>
/// <param name="IsGreedy">True if each of its tokens is the most probable one.</param>
internal readonly record struct ContinuationScore(double LogProbability, bool IsGreedy);

/// <summary>
/// Computes log-probabilities of continuations in batches. Sequences are sorted by length, so that batches have little padding. Choices of a question that have
/// the same tokens up to their last one, such as letters, are computed as one sequence.
/// </summary>
internal sealed class ContinuationScorer
{
    private const int BatchTokens = 4096;

    /// <summary>The most logits of a batch of several sequences.</summary>
    private const long BatchLogits = 1 << 24;

    private readonly LanguageModel model;
    private readonly Tape tape;

    /// <exception cref="UserException">The model is not a causal decoder.</exception>
    public ContinuationScorer(LanguageModel model, Device device)
    {
        if (!model.IsCausal || model.HasEncoder)
            throw new UserException($"{model.Config.Family} does not give probabilities of continuations; tasks need a causal model, such as GPT-2 or LLaMA");
        model.CheckDevice(device);
        this.model = model;
        tape = new Tape(device) { IsRecording = false, IsTraining = false };
    }

    /// <summary>The number of continuations whose context was cut at its beginning, because the model has too few positions.</summary>
    public int Cut { get; private set; }

    /// <summary>The scores of all choices, question by question.</summary>
    /// <param name="items">The questions.</param>
    /// <param name="advanced">Called with the number of choices that are done.</param>
    /// <exception cref="UserException">A token is unknown, a continuation is longer than the model's positions, or the model's logits are NaN.</exception>
    public ContinuationScore[][] Score(IReadOnlyList<EncodedItem> items, Action<int>? advanced = null)
    {
        ContinuationScore[][] scores = [.. items.Select(item => new ContinuationScore[item.Choices.Count])];
        List<Sequence> sequences = [];
        for (int i = 0; i < items.Count; i++)
            sequences.AddRange(Sequences(items[i], scores[i]));
        sequences.Sort((a, b) => b.Inputs.Length.CompareTo(a.Inputs.Length));
        int done = 0;
        for (int first = 0, count; first < sequences.Count; first += count)
        {
            count = BatchSize(sequences, first);
            List<Sequence> batch = sequences.GetRange(first, count);
            Score(batch);
            advanced?.Invoke(done += batch.Sum(sequence => sequence.Targets.Count));
        }

        return scores;
    }

    /// <summary>The sequences of a question's choices. A choice whose inputs begin another's inputs is computed with it.</summary>
    private List<Sequence> Sequences(EncodedItem item, ContinuationScore[] scores)
    {
        int positions = model.Config.ContextLength;
        var sequences = new List<Sequence>();
        foreach ((EncodedChoice choice, int index) in item.Choices.Select((choice, i) => (choice, i)).OrderByDescending(pair => pair.choice.Context.Length + pair.choice.Continuation.Length))
        {
            foreach (int id in choice.Context.Concat(choice.Continuation))
            {
                if ((uint)id >= (uint)model.Config.VocabularySize)
                    throw new UserException($"{item.Place} has the token {id}, but the model has a vocabulary of {model.Config.VocabularySize}; the tokens are from another tokenizer than the model's");
            }

            if (choice.Continuation.Length > positions)
                throw new UserException($"{item.Place}: a choice has {choice.Continuation.Length} tokens, and the model has only {positions} positions; remove the record");
            int[] inputs = [.. choice.Context, .. choice.Continuation[..^1]];
            if (inputs.Length > positions)
            {
                inputs = inputs[^positions..];
                Cut++;
            }

            Sequence? longer = sequences.Find(other => other.Inputs.AsSpan().StartsWith(inputs) && HasSameAngles(inputs.Length, other.Inputs.Length));
            if (longer is null)
                sequences.Add(longer = new Sequence(inputs));
            longer.Targets.Add(new Target(item.Place, inputs.Length - choice.Continuation.Length, choice.Continuation, scores, index));
        }

        return sequences;
    }

    private int BatchSize(List<Sequence> sequences, int first)
    {
        int length = sequences[first].Inputs.Length, count = 0;
        long logits = 0;
        for (; first + count < sequences.Count; count++)
        {
            Sequence next = sequences[first + count];
            logits += next.Targets.Sum(target => target.Tokens.Length) * (long)model.Config.VocabularySize;
            if (count > 0 && ((count + 1) * length > BatchTokens || logits > BatchLogits || !HasSameAngles(next.Inputs.Length, length)))
                break;
        }

        return count;
    }

    /// <summary>False if the rotary frequencies depend on the length of the sequence and differ between two lengths.</summary>
    private bool HasSameAngles(int shorter, int longer) => shorter == longer || model is not Transformer transformer || transformer.Stack.KeepsKeys(shorter, longer);

    private void Score(List<Sequence> batch)
    {
        int length = batch[0].Inputs.Length;
        int[] tokens = new int[batch.Count * length];
        List<int> rows = [], targets = [];
        for (int i = 0; i < batch.Count; i++)
        {
            // Tokens after the end of a sequence do not affect those before them.
            batch[i].Inputs.CopyTo(tokens, i * length);
            foreach (Target target in batch[i].Targets)
            {
                rows.AddRange(Enumerable.Range(i * length + target.First, target.Tokens.Length));
                targets.AddRange(target.Tokens);
            }
        }

        Tensor logits = model.LogitsOf(tape, new TokenBatch(tokens, batch.Count), [.. rows]);
        float[] losses = tape.CrossEntropy(logits, [.. targets], reduction: LossReduction.None).ToArray(), best = tape.ArgMax(logits).ToArray();
        tape.Reset();
        int place = 0;
        foreach (Target target in batch.SelectMany(sequence => sequence.Targets))
        {
            double sum = 0;
            bool isGreedy = true;
            for (int i = 0; i < target.Tokens.Length; i++, place++)
            {
                sum -= losses[place];
                isGreedy &= best[place] == target.Tokens[i];
            }

            if (double.IsNaN(sum))
                throw new UserException($"{target.Place}: the model's logits are NaN; its training diverged, or its weights are damaged");
            target.Scores[target.Index] = new ContinuationScore(sum, isGreedy);
        }
    }

    /// <summary>Inputs of the model, and the continuations that are predicted from them.</summary>
    private sealed record Sequence(int[] Inputs)
    {
        public List<Target> Targets { get; } = [];
    }

    /// <summary>A continuation, the position that predicts its first token, and the place of its score.</summary>
    private sealed record Target(string Place, int First, int[] Tokens, ContinuationScore[] Scores, int Index);
}
