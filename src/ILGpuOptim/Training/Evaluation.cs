using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Training;

/// <summary>How well a model predicts a text.</summary>
/// <param name="Tokens">Predicted tokens.</param>
/// <param name="Loss">Nats a token.</param>
/// <param name="BitsPerByte">Bits for each byte of the text; null when its bytes are not known, and where tokens were masked or hidden.</param>
/// <param name="Accuracy">The fraction of masked tokens, or of the targets of hidden spans, that the model predicts; null for causal models.</param>
public sealed record EvaluationResult(long Tokens, double Loss, double? BitsPerByte, double? Accuracy = null)
{
    /// <summary>e to the loss.</summary>
    public double Perplexity => Math.Exp(Loss);
}

/// <summary>How to measure.</summary>
public sealed record EvaluationOptions
{
    /// <summary>Tokens of a window; 0 means the model's positions, but at most <see cref="MostBlock"/>.</summary>
    [Range(0)]
    public int Block { get; init; }

    /// <summary>From one window to the next; 0 means windows that do not overlap. What overlaps is context and not predicted again.</summary>
    [Range(0)]
    public int Stride { get; init; }

    /// <summary>The part of the tokens that a masked language model, or one of an encoder and a decoder, has to predict.</summary>
    [Range(0, 1, Above = true, Below = true)]
    public double MaskedPart { get; init; } = 0.15;

    /// <summary>The mean number of tokens of a hidden span, for models of an encoder and a decoder.</summary>
    [Range(1, 1 << 20)]
    public double MeanSpan { get; init; } = 3;

    /// <summary>Repeats the same masks or spans.</summary>
    [Range(0)]
    public ulong Seed { get; init; } = 1;

    /// <summary>The largest window that is taken without being asked for.</summary>
    public const int MostBlock = 2048;
}

/// <summary>Measures a model on the whole of a text, window by window.</summary>
public static class Evaluation
{
    private const int BatchTokens = 4096;

    /// <summary>
    /// Predicts each token but the first once, given those before it in its window; or, for a masked language model, hidden
    /// tokens of each window given the others; or, for a model of an encoder and a decoder, hidden spans with their sentinels and the end, each token given
    /// the visible ones and those before it.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="device">Where it is.</param>
    /// <param name="tokens">At least two.</param>
    /// <param name="bytes">The text's bytes, if known.</param>
    /// <param name="options">Windows and masks.</param>
    /// <param name="documents">
    /// The ends of the tokens' documents: attention stays within a document, positions restart with each, and first tokens are not predicted, so that there are
    /// no bits per byte. Null: all tokens are one document.
    /// </param>
    /// <exception cref="UserException">There are fewer than two tokens, or the options make no sense.</exception>
    public static EvaluationResult Run(LanguageModel model, Device device, TokenSequence tokens, long? bytes, EvaluationOptions? options = null, DocumentEnds? documents = null)
    {
        options ??= new EvaluationOptions();
        Ranges.Check(options);
        int positions = model.Config.ContextLength;
        if (options.Block < 0 || options.Block > positions)
            throw new UserException($"--block {options.Block}: the model has {positions} positions, so it lies between 1 and {positions}");
        if (tokens.Max() >= model.Config.VocabularySize)
            throw new UserException($"the tokens reach {tokens.Max()}, but the model knows {model.Config.VocabularySize}; they were made by another tokenizer than the model's");
        int block = (int)Math.Min(options.Block == 0 ? Math.Min(positions, EvaluationOptions.MostBlock) : options.Block, Math.Max(1, tokens.Length - 1));
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
        var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        var inputs = new int[batch * block];
        var targets = new int[batch * block];
        int[] numbers = documents is null ? [] : new int[batch * block];
        var losses = new Queue<(Readback Loss, int Counted)>();
        double sum = 0;
        for (long window = 0; window < windows.Count; window += batch)
        {
            int counted = 0;
            for (int row = 0; row < batch; row++)
            {
                counted += documents is null ? windows.Fill(window + row, inputs.AsSpan(row * block), targets.AsSpan(row * block))
                    : windows.Fill(window + row, inputs.AsSpan(row * block), targets.AsSpan(row * block), numbers.AsSpan(row * block));
            }

            losses.Enqueue((device.ReadLater(model.Loss(tape, new TokenBatch(inputs, batch) { Documents = numbers }, targets).Data), counted));
            tape.Reset();
            Add(exceptLast: 1);
        }

        Add(exceptLast: 0);
        return new EvaluationResult(windows.Targets, sum / windows.Targets, bytes > 0 ? sum / Math.Log(2) / bytes : null);

        // A batch's loss is asked for when the device has the next one to work on.
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
        var masking = new TokenMasking(Trainer.MaskOf(model), model.Config.VocabularySize, block, options.MaskedPart, options.Seed);
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
        SpanCorruption corruption = TrainingBatches.CorruptionOf(model, block, options.MaskedPart, options.MeanSpan, options.Seed)!;
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

    /// <summary>The most tokens of a window whose input and target a model has positions for, at most <paramref name="block"/>.</summary>
    private static int LargestWithin(int positions, int block, EvaluationOptions options)
    {
        while (block > 1 && SpanCounts.Of(block, options.MaskedPart, options.MeanSpan) is var counts && Math.Max(counts.InputLength, counts.TargetLength) > positions)
            block--;
        return block;
    }

    /// <summary>Adds up the losses of the targets of a batch, their number, and how many are the likeliest token.</summary>
    private static void Predict(LanguageModel model, Tape tape, in TokenBatch batch, int[] targets, ref double sum, ref long counted, ref long found)
    {
        (int[] hidden, int[] expected) = LanguageModelHead.Counted(targets);
        float[] logits = model.LogitsOf(tape, batch, hidden).ToArray();
        tape.Reset();
        int vocabulary = model.Config.VocabularySize;
        for (int i = 0; i < expected.Length; i++)
        {
            ReadOnlySpan<float> row = logits.AsSpan(i * vocabulary, vocabulary);
            (double logSum, int likeliest) = Summary(row);
            sum += logSum - row[expected[i]];
            found += likeliest == expected[i] ? 1 : 0;
        }

        counted += expected.Length;
    }

    /// <summary>The logarithm of the sum of exponentials, and the first of the largest.</summary>
    private static (double LogSum, int ArgMax) Summary(ReadOnlySpan<float> logits)
    {
        int likeliest = 0;
        for (int i = 1; i < logits.Length; i++)
            likeliest = logits[i] > logits[likeliest] ? i : likeliest;
        double sum = 0;
        foreach (float logit in logits)
            sum += Math.Exp((double)logit - logits[likeliest]);
        return (logits[likeliest] + Math.Log(sum), likeliest);
    }
}
