using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Data.Conversations;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Training;

/// <summary>The result of an evaluation.</summary>
/// <param name="Tokens">The number of predicted tokens.</param>
/// <param name="Loss">The mean loss in nats per token.</param>
/// <param name="BitsPerByte">Bits per byte of the text; null if the number of bytes is unknown, and for masked and encoder–decoder models.</param>
/// <param name="Accuracy">The fraction of masked tokens, or of targets of hidden spans, for which the most probable token is correct; null for causal models.</param>
public sealed record EvaluationResult(long Tokens, double Loss, double? BitsPerByte, double? Accuracy = null)
{
    /// <summary>The exponential of the loss.</summary>
    public double Perplexity => Math.Exp(Loss);
}

/// <summary>Options of an evaluation.</summary>
public sealed record EvaluationOptions
{
    /// <summary>Tokens per window; 0 means the model's positions, but at most <see cref="MaxBlock"/>.</summary>
    [Range(0)]
    public int Block { get; init; }

    /// <summary>Tokens from the start of one window to that of the next; 0 means no overlap. Overlapping tokens are context and are not predicted again.</summary>
    [Range(0)]
    public int Stride { get; init; }

    /// <summary>The fraction of tokens that a masked language model or an encoder–decoder model has to predict.</summary>
    [Range(0, 1, MinimumIsExclusive = true, MaximumIsExclusive = true)]
    public double MaskedFraction { get; init; } = 0.15;

    /// <summary>The mean number of tokens of a hidden span, for encoder–decoder models.</summary>
    [Range(1, 1 << 20)]
    public double MeanSpan { get; init; } = 3;

    /// <summary>The seed of masks and spans.</summary>
    [Range(0)]
    public ulong Seed { get; init; } = 1;

    /// <summary>The largest window that is taken without being asked for.</summary>
    public const int MaxBlock = 2048;
}

/// <summary>Measures the loss of a model on a whole text, window by window.</summary>
public static class Evaluation
{
    /// <summary>The most tokens of a batch of several windows.</summary>
    internal const int BatchTokens = 4096;

    /// <summary>
    /// Causal models predict each token but the first once, given those before it in its window. Masked language models predict the masked tokens of each
    /// window. Encoder–decoder models predict hidden spans with their sentinels and the end token, each token given the visible ones and those before it.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="device">The device of the model.</param>
    /// <param name="tokens">At least two tokens.</param>
    /// <param name="bytes">The number of bytes of the text, if known.</param>
    /// <param name="options">The options; null means the defaults.</param>
    /// <param name="documents">
    /// The ends of the tokens' documents: attention stays within a document, positions restart with each, and first tokens are not predicted, so that there are
    /// no bits per byte. Null: all tokens are one document.
    /// </param>
    /// <exception cref="UserException">There are fewer than two tokens, or an option is invalid.</exception>
    public static EvaluationResult Run(LanguageModel model, Device device, TokenSequence tokens, long? bytes, EvaluationOptions? options = null, DocumentEnds? documents = null)
    {
        options ??= new EvaluationOptions();
        Ranges.Check(options);
        if (documents is not null && !model.SupportsDocuments)
            throw UserException.NamingSettings($"{nameof(TrainingSettings.Documents):setting}: {model.Config.Family} cannot keep documents apart; leave it out");
        int positions = model.Config.ContextLength;
        if (options.Block < 0 || options.Block > positions)
            throw UserException.NamingSettings($"{nameof(options.Block):setting} {options.Block}: the model has {positions} positions, so it must be from 1 to {positions}");
        if (tokens.Max() >= model.Config.VocabularySize)
            throw new UserException($"the token ids reach {tokens.Max()}, but the model has a vocabulary of {model.Config.VocabularySize}; they are from another tokenizer than the model's");
        int block = (int)Math.Min(options.Block == 0 ? Math.Min(positions, EvaluationOptions.MaxBlock) : options.Block, Math.Max(1, tokens.Length - 1));
        if (model.HasEncoder && options.Block == 0)
            block = LargestWithin(positions, block, options);
        int batch = Math.Clamp(BatchTokens / block, 1, 8);
        if (model.HasEncoder)
            return RunSpans(model, device, tokens, documents, options, block, batch);
        return model.IsCausal ? RunCausal(model, device, tokens, documents, documents is null ? bytes : null, options.Stride, block, batch) : RunMasked(model, device, tokens, documents, options, block, batch);
    }

    private static EvaluationResult RunCausal(LanguageModel model, Device device, TokenSequence tokens, DocumentEnds? documents, long? bytes, int stride, int block, int batch)
    {
        var windows = new SequentialWindows(tokens, block, stride, documents);
        int[] numbers = documents is null ? [] : new int[batch * block];
        return RunWindows(model, device, windows.Count, block, batch, numbers, bytes, (window, inputs, targets, documentsOf) =>
            documents is null ? windows.Fill(window, inputs, targets) : windows.Fill(window, inputs, targets, documentsOf));
    }

    /// <summary>Conversations: each token of an answer is predicted once, given what precedes it in its conversation.</summary>
    /// <param name="model">A causal model that keeps documents apart.</param>
    /// <param name="device">The device of the model.</param>
    /// <param name="tokens">The tokens of all conversations.</param>
    /// <param name="answers">1 for each token of an answer, else 0.</param>
    /// <param name="conversations">The ends of the conversations.</param>
    /// <exception cref="UserException">The model does not continue a text, or has another vocabulary.</exception>
    internal static EvaluationResult RunAnswers(LanguageModel model, Device device, TokenSequence tokens, TokenSequence answers, DocumentEnds conversations)
    {
        if (!model.IsCausal || model.HasEncoder || !model.SupportsDocuments)
            throw new UserException($"conversations are for models that continue a text, which {model.Config.Family} does not");
        if (tokens.Length == 0)
            throw new UserException("there are no conversations to evaluate on; give files of conversations");
        if (tokens.Max() >= model.Config.VocabularySize)
            throw new UserException($"the token ids reach {tokens.Max()}, but the model has a vocabulary of {model.Config.VocabularySize}; they are from another tokenizer than the model's");
        int block = 1;
        long start = 0;
        for (long i = 0; i < conversations.Count; i++)
        {
            block = (int)Math.Max(block, conversations.EndOf(i) - start - 1);
            start = conversations.EndOf(i);
        }

        var windows = new ConversationWindows(tokens, answers, conversations, block, packs: true);
        int batch = Math.Clamp(BatchTokens / block, 1, 8);
        return RunWindows(model, device, windows.Count, block, batch, new int[batch * block], null, (window, inputs, targets, documents) =>
        {
            windows.Fill(Math.Min(window, windows.Count - 1), inputs, targets, documents);
            if (window < windows.Count)
                return windows.Targets(window);
            targets[..block].Fill(SequentialWindows.Ignored);
            return 0;
        });
    }

    /// <summary>Fills a window from its first position on, and returns the number of its targets; windows beyond the last have none.</summary>
    private delegate int FillWindow(long window, Span<int> inputs, Span<int> targets, Span<int> documents);

    private static EvaluationResult RunWindows(LanguageModel model, Device device, long count, int block, int batch, int[] numbers, long? bytes, FillWindow fill)
    {
        var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        var inputs = new int[batch * block];
        var targets = new int[batch * block];
        var losses = new Queue<(Readback Loss, int Counted)>();
        double sum = 0;
        long all = 0;
        for (long window = 0; window < count; window += batch)
        {
            int counted = 0;
            for (int row = 0; row < batch; row++)
                counted += fill(window + row, inputs.AsSpan(row * block), targets.AsSpan(row * block), numbers.Length == 0 ? [] : numbers.AsSpan(row * block));
            all += counted;
            losses.Enqueue((device.ReadLater(model.Losses(tape, new TokenBatch(inputs, batch) { Documents = numbers }, targets).CrossEntropy.Data), counted));
            tape.Reset();
            Add(exceptLast: 1);
        }

        Add(exceptLast: 0);
        return new EvaluationResult(all, sum / all, bytes > 0 ? sum / Math.Log(2) / bytes : null);

        // The loss of a batch is read once the device works on the next one.
        void Add(int exceptLast)
        {
            while (losses.Count > exceptLast)
            {
                (Readback loss, int counted) = losses.Dequeue();
                sum += loss.Wait()[0] * (double)counted;
            }
        }
    }

    private static EvaluationResult RunMasked(LanguageModel model, Device device, TokenSequence tokens, DocumentEnds? documents, EvaluationOptions options, int block, int batch)
    {
        var masking = new TokenMasking(Trainer.MaskOf(model), model.Config.VocabularySize, block, options.MaskedFraction, options.Seed);
        var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        double sum = 0;
        long counted = 0, found = 0;
        for (long start = 0, number = 0; start < tokens.Length; start += (long)batch * block, number++)
        {
            int here = (int)Math.Min((long)batch * block, tokens.Length - start), rows = (here + block - 1) / block;
            int[] inputs = new int[rows * block], targets = new int[rows * block], seen = new int[rows * block], numbers = documents is null ? [] : new int[rows * block];
            documents?.Number(start, numbers.AsSpan(0, here));
            tokens.CopyTo(start, inputs.AsSpan(0, here));
            seen.AsSpan(0, here).Fill(1);
            masking.Apply(0, (ulong)number, inputs, targets, here - (rows - 1) * block);
            Predict(model, tape, new TokenBatch(inputs, rows) { Mask = seen, Documents = numbers }, targets, ref sum, ref counted, ref found);
        }

        return new EvaluationResult(counted, sum / counted, null, (double)found / counted);
    }

    private static EvaluationResult RunSpans(LanguageModel model, Device device, TokenSequence tokens, DocumentEnds? documents, EvaluationOptions options, int block, int batch)
    {
        SpanCorruption corruption = TrainingBatches.CorruptionOf(model, block, options.MaskedFraction, options.MeanSpan, options.Seed)!;
        var windows = new DocumentWindows(documents ?? DocumentEnds.One(tokens.Length), block, predictsNext: false);
        var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        double sum = 0;
        long counted = 0, found = 0;
        for (long first = 0, number = 0; first < windows.Count; first += batch, number++)
        {
            int rows = (int)Math.Min(batch, windows.Count - first);
            int[] lengths = new int[rows], visible = new int[rows * block], next = new int[block];
            int[] inputs = new int[rows * corruption.Counts.InputLength], seen = new int[inputs.Length], targets = new int[rows * corruption.Counts.TargetLength];
            for (int row = 0; row < rows; row++)
                lengths[row] = windows.Fill(tokens, first + row, visible.AsSpan(row * block, block), next);
            corruption.Apply(0, (ulong)number, visible, inputs, seen, targets, lengths);
            Predict(model, tape, new TokenBatch(inputs, rows) { Mask = seen, DecoderTokens = model.DecoderTokensFor(targets, rows) }, targets, ref sum, ref counted, ref found);
        }

        return new EvaluationResult(counted, sum / counted, null, (double)found / counted);
    }

    /// <summary>The largest window whose input and target fit the model's positions, at most <paramref name="block"/>.</summary>
    private static int LargestWithin(int positions, int block, EvaluationOptions options)
    {
        while (block > 1 && SpanCounts.Of(block, options.MaskedFraction, options.MeanSpan) is var counts && Math.Max(counts.InputLength, counts.TargetLength) > positions)
            block--;
        return block;
    }

    /// <summary>Accumulates the losses of a batch's targets, their number, and the number predicted correctly.</summary>
    private static void Predict(LanguageModel model, Tape tape, in TokenBatch batch, int[] targets, ref double sum, ref long counted, ref long found)
    {
        (int[] hidden, int[] expected) = LanguageModelHead.Counted(targets);
        float[] logits = model.LogitsOf(tape, batch, hidden).ToArray();
        tape.Reset();
        int vocabulary = model.Config.VocabularySize;
        for (int i = 0; i < expected.Length; i++)
        {
            ReadOnlySpan<float> row = logits.AsSpan(i * vocabulary, vocabulary);
            (double logSum, int best) = Summary(row);
            sum += logSum - row[expected[i]];
            found += best == expected[i] ? 1 : 0;
        }

        counted += expected.Length;
    }

    /// <summary>The log-sum-exp and the first index of the maximum.</summary>
    private static (double LogSum, int ArgMax) Summary(ReadOnlySpan<float> logits)
    {
        int best = 0;
        for (int i = 1; i < logits.Length; i++)
            best = logits[i] > logits[best] ? i : best;
        double sum = 0;
        foreach (float logit in logits)
            sum += Math.Exp((double)logit - logits[best]);
        return (logits[best] + Math.Log(sum), best);
    }
}
