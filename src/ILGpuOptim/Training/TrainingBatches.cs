using ILGpuOptim.Data;
using ILGpuOptim.Models;

namespace ILGpuOptim.Training;

/// <summary>The batches of a run, one at a time in the same arrays: training and validation windows, documents, padding, masked tokens. Filling allocates nothing.</summary>
internal sealed class TrainingBatches
{
    private const ulong TrainingStream = 0, ValidationStream = 1;

    private readonly Dataset data;
    private readonly BatchSampler training, validating;
    private readonly TokenMasking? masking;
    private readonly SpanCorruption? corruption;
    private readonly DocumentWindows? trainingWindows, validationWindows;
    private readonly int rows;
    private readonly int[] inputs, next, documents = [], mask = [], lengths = [], read = [], readMask = [];

    /// <summary>Prepares batches.</summary>
    /// <exception cref="UserException">The data has no whole window, or nothing to predict.</exception>
    public TrainingBatches(Dataset data, LanguageModel model, TrainingSettings settings)
    {
        this.data = data;
        rows = settings.Batch;
        training = new BatchSampler(settings.Block, rows, settings.Seed, settings.Sampling);
        validating = new BatchSampler(settings.Block, rows, settings.Seed);
        masking = Trainer.MaskingOf(model, settings);
        corruption = CorruptionOf(model, settings.Block, settings.MaskedPart, settings.MeanSpan, settings.Seed);
        inputs = new int[rows * settings.Block];
        next = Targets = new int[inputs.Length];
        if (corruption is not null)
        {
            int visible = data.VocabularySize, first = model.Config.VocabularySize - corruption.Counts.Spans;
            if (model.Config.SpanTokens is { Sentinels.Count: 0 } && visible > first)
                throw new UserException($"{data.Source}: the tokens reach {visible - 1}, but the model's last ids, from {first} on, stand for hidden spans; add sentinel_token_ids to its config.json");
            read = new int[rows * corruption.Counts.InputLength];
            readMask = new int[read.Length];
            Targets = new int[rows * corruption.Counts.TargetLength];
            if (settings.Documents && !settings.Pad)
                throw new UserException($"--documents: {model.Config.Family} reads one document in a sequence; add --pad");
        }

        if (!settings.Pad)
            data.CheckBlock(settings.Block);
        if (!settings.Documents)
            return;
        if (data.TrainingDocuments is not { } left || data.ValidationDocuments is not { } right)
            throw new UserException($"{data.Source}: --documents needs the ends of documents; open the data with them");
        if (settings.Pad)
        {
            (mask, lengths) = (new int[inputs.Length], new int[rows]);
            trainingWindows = WindowsOf(left, "train on", settings.Block);
            validationWindows = right.Length == 0 ? null : WindowsOf(right, "validate with", settings.Block);
            return;
        }

        documents = new int[inputs.Length];
        CheckTargets(left, "train on");
        CheckTargets(right, "validate with");
    }

    /// <summary>What each position of the present batch should predict; negative ones are ignored.</summary>
    public int[] Targets { get; }

    /// <summary>The present batch.</summary>
    public TokenBatch Tokens => corruption is null ? new(inputs, rows) { Documents = documents, Mask = mask } : new(read, rows) { Mask = readMask };

    /// <summary>Tokens of a batch, with padding, before any are hidden.</summary>
    public int Length => inputs.Length;

    /// <summary>Fills the training batch of a number.</summary>
    public void FillTraining(ulong batch) => Fill(training, onTraining: true, TrainingStream, batch);

    /// <summary>Fills a batch that is the same each time.</summary>
    /// <param name="onTraining">Whether of the training tokens.</param>
    /// <param name="batch">Its number.</param>
    public void FillValidation(bool onTraining, ulong batch) => Fill(validating, onTraining, ValidationStream, batch);

    /// <summary>Epochs that a number of training batches takes.</summary>
    public double Epochs(double batches) =>
        trainingWindows is null ? training.Epochs(data.Training.Length, batches) : training.Epochs(trainingWindows, batches);

    private void Fill(BatchSampler sampler, bool onTraining, ulong stream, ulong batch)
    {
        TokenSequence tokens = onTraining ? data.Training : data.Validation;
        if ((onTraining ? trainingWindows : validationWindows) is { } windows)
        {
            sampler.Fill(tokens, windows, stream, batch, inputs, next, lengths);
            corruption?.Apply(stream, batch, inputs, read, readMask, Targets, lengths);
            for (int row = 0, block = inputs.Length / rows; row < rows; row++)
            {
                mask.AsSpan(row * block, lengths[row]).Fill(1);
                mask.AsSpan((row * block) + lengths[row], block - lengths[row]).Clear();
            }

            masking?.Apply(stream, batch, inputs, Targets, lengths);
            return;
        }

        if (documents.Length > 0)
            sampler.Fill(tokens, (onTraining ? data.TrainingDocuments : data.ValidationDocuments)!, stream, batch, inputs, next, documents);
        else
            sampler.Fill(tokens, stream, batch, inputs, next);
        corruption?.Apply(stream, batch, inputs, read, readMask, Targets);
        masking?.Apply(stream, batch, inputs, Targets);
    }

    /// <summary>Span corruption for models of an encoder and a decoder; null for others.</summary>
    /// <exception cref="UserException">The model has too few sentinels or positions, or its configuration does not name the tokens.</exception>
    internal static SpanCorruption? CorruptionOf(LanguageModel model, int block, double part, double meanSpan, ulong seed)
    {
        if (!model.HasEncoder)
            return null;
        SpanTokens tokens = model.Config.SpanTokens
            ?? throw new UserException($"{model.Config.Family} answers one text with another, but its configuration has no tokens to hide spans of single texts behind; train it from code, with pairs as a {nameof(TokenBatch)}");
        SpanCounts counts = SpanCounts.Of(block, part, meanSpan);
        string settings = FormattableString.Invariant($"--block {block} with --masked-part {part} and --mean-span {meanSpan}");
        int positions = model.Config.ContextLength, vocabulary = model.Config.VocabularySize;
        if (Math.Max(counts.InputLength, counts.TargetLength) > positions)
            throw new UserException($"{settings}: the encoder reads {counts.InputLength} tokens and the decoder {counts.TargetLength}, but the model has {positions} positions; use a smaller --block");
        IReadOnlyList<int> sentinels = tokens.Sentinels.Count == 0 ? SpanTokens.Last(Math.Min(counts.Spans, vocabulary), vocabulary) : tokens.Sentinels;
        if (sentinels.Count < counts.Spans)
            throw new UserException($"{settings}: {counts.Spans} spans are hidden, but the model has {sentinels.Count} sentinel tokens; use a larger --mean-span, or a smaller --masked-part or --block");
        if (tokens.End is not { } end || (uint)end >= (uint)vocabulary)
            throw new UserException("the model's config.json has no eos_token_id within its vocabulary, so there is nothing to end sequences with; add it");
        if (sentinels.Contains(end) || sentinels.Contains(tokens.Padding) || sentinels.Distinct().Count() < sentinels.Count)
            throw new UserException("the model's sentinel tokens must differ from each other, from eos_token_id and from pad_token_id; correct sentinel_token_ids in its config.json");
        return new SpanCorruption(sentinels, end, tokens.Padding, block, part, meanSpan, seed);
    }

    private DocumentWindows WindowsOf(DocumentEnds ends, string use, int block)
    {
        var windows = new DocumentWindows(ends, block, predictsNext: masking is null && corruption is null);
        return windows.Count > 0 ? windows : throw NothingToPredict(use);
    }

    private void CheckTargets(DocumentEnds ends, string use)
    {
        if (masking is null && ends.Length > 0 && ends.Count == ends.Length)
            throw NothingToPredict(use);
    }

    private UserException NothingToPredict(string use) =>
        new($"{data.Source}: with --documents there is nothing to {use}, since no document has two tokens; leave --documents out, or check how the ends were found");
}
