using ILGpuOptim.Data;
using ILGpuOptim.Data.Conversations;
using ILGpuOptim.Models;

namespace ILGpuOptim.Training;

/// <summary>Fills the batches of a run into the same arrays: training and validation windows, documents, padding, masked tokens. Filling allocates nothing.</summary>
internal sealed class TrainingBatches
{
    private const ulong TrainingStream = 0, ValidationStream = 1;

    private readonly Dataset data;
    private readonly BatchSampler training, validating;
    private readonly TokenMasking? masking;
    private readonly SpanCorruption? corruption;
    private readonly DocumentWindows? trainingWindows, validationWindows;
    private readonly ConversationWindows? trainingConversations, validationConversations;
    private readonly int rows;
    private readonly int[] inputs, next, documents = [], mask = [], lengths = [], read = [], readMask = [];

    /// <summary>Allocates the arrays.</summary>
    /// <exception cref="UserException">The data is too short for a window, or has nothing to predict.</exception>
    public TrainingBatches(Dataset data, LanguageModel model, TrainingSettings settings)
    {
        this.data = data;
        rows = settings.Batch;
        if (data.HasPairs && rows % 2 != 0)
            throw UserException.NamingSettings($"{nameof(settings.Batch):setting} {rows}: a batch has as many chosen as rejected sequences, so it must be even");
        training = new BatchSampler(settings.Block, data.HasPairs ? rows / 2 : rows, settings.Seed, settings.Sampling);
        validating = new BatchSampler(settings.Block, data.HasPairs ? rows / 2 : rows, settings.Seed);
        masking = Trainer.MaskingOf(model, settings);
        corruption = CorruptionOf(model, settings.Block, settings.MaskedFraction, settings.MeanSpan, settings.Seed);
        inputs = new int[rows * settings.Block];
        next = Targets = new int[inputs.Length];
        if (corruption is not null)
        {
            int visible = data.VocabularySize, first = model.Config.VocabularySize - corruption.Counts.Spans;
            if (model.Config.SpanTokens is { Sentinels.Count: 0 } && visible > first)
                throw new UserException($"{data.Source}: the token ids reach {visible - 1}, but the model's last ids, from {first} on, are sentinels; add sentinel_token_ids to its config.json");
            read = new int[rows * corruption.Counts.InputLength];
            readMask = new int[read.Length];
            Targets = new int[rows * corruption.Counts.TargetLength];
            if (settings.Documents && !settings.Pad)
                throw UserException.NamingSettings($"{nameof(settings.Documents):setting}: {model.Config.Family} reads one document in a sequence; add {nameof(settings.Pad):setting}");
        }

        if (data.TrainingAnswers is { } answers)
        {
            if (masking is not null || corruption is not null)
                throw new UserException($"{data.Source}: conversations are for models that continue a text, which {model.Config.Family} does not");
            if (!model.SupportsDocuments)
                throw new UserException($"{data.Source}: {model.Config.Family} cannot keep conversations apart ({model.GetType().Name} has no {nameof(LanguageModel.SupportsDocuments)})");
            documents = new int[inputs.Length];
            Pairs = data.HasPairs ? new PairBatch(rows, settings.Block) : null;
            int sides = data.HasPairs ? 2 : 1;
            trainingConversations = new ConversationWindows(data.Training, answers, data.TrainingDocuments!, settings.Block, packs: !settings.Pad, sides);
            validationConversations = data.Validation.Length == 0 ? null
                : new ConversationWindows(data.Validation, data.ValidationAnswers!, data.ValidationDocuments!, settings.Block, packs: !settings.Pad, sides);
            return;
        }

        if (!settings.Pad)
            data.CheckBlock(settings.Block);
        if (!settings.Documents)
            return;
        if (data.TrainingDocuments is not { } left || data.ValidationDocuments is not { } right)
            throw UserException.NamingSettings($"{data.Source}: {nameof(settings.Documents):setting} needs the ends of documents; open the data with them");
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

    /// <summary>The target of each position of the current batch; negative targets are ignored.</summary>
    public int[] Targets { get; }

    /// <summary>The pairs of the current batch; null for other data.</summary>
    public PairBatch? Pairs { get; }

    /// <summary>The windows of pairs in a batch.</summary>
    public int PairWindowsPerBatch => rows / 2;

    /// <summary>The current batch.</summary>
    public TokenBatch Tokens => corruption is null ? new(inputs, rows) { Documents = documents, Mask = mask } : new(read, rows) { Mask = readMask };

    /// <summary>Tokens per batch, including padding, before masking.</summary>
    public int Length => inputs.Length;

    /// <summary>Fills a training batch by its number.</summary>
    public void FillTraining(ulong batch) => Fill(training, onTraining: true, TrainingStream, batch);

    /// <summary>Fills a validation batch by its number.</summary>
    /// <param name="onTraining">True: from the training tokens.</param>
    /// <param name="batch">Its number.</param>
    public void FillValidation(bool onTraining, ulong batch) => Fill(validating, onTraining, ValidationStream, batch);

    /// <summary>The number of windows of pairs.</summary>
    public long PairWindows(bool onTraining) => (onTraining ? trainingConversations : validationConversations)?.Count ?? 0;

    /// <summary>Fills a batch with successive windows of pairs. After the last one, rows are padding.</summary>
    public void FillPairs(bool onTraining, long first)
    {
        ConversationWindows windows = (onTraining ? trainingConversations : validationConversations)!;
        inputs.AsSpan().Clear();
        next.AsSpan().Fill(SequentialWindows.Ignored);
        documents.AsSpan().Clear();
        Pairs!.Clear();
        for (int i = 0; i < PairWindowsPerBatch && first + i < windows.Count; i++)
            FillPair(windows, first + i, 2 * i);
    }

    /// <summary>
    /// The weight of a training batch's mean loss in the mean over the targets of several: its share of their answers' tokens for conversations and of their pairs
    /// for pairs, an equal share for other data.
    /// </summary>
    /// <param name="first">The first batch.</param>
    /// <param name="count">The number of batches.</param>
    /// <param name="batch">The batch.</param>
    public float TrainingWeight(ulong first, int count, ulong batch)
    {
        if (trainingConversations is null)
            return 1f / count;
        long all = 0;
        for (int i = 0; i < count; i++)
            all += Answers(training, onTraining: true, TrainingStream, first + (ulong)i);
        return (float)Answers(training, onTraining: true, TrainingStream, batch) / all;
    }

    /// <summary>The weight of a validation batch's mean loss, to be divided by the sum of all weights: its tokens of answers for conversations, its pairs for pairs, else 1.</summary>
    public double ValidationWeight(bool onTraining, ulong batch) => trainingConversations is null ? 1 : Answers(validating, onTraining, ValidationStream, batch);

    private long Answers(BatchSampler sampler, bool onTraining, ulong stream, ulong batch)
    {
        ConversationWindows windows = (onTraining ? trainingConversations : validationConversations)!;
        long count = 0;
        for (int row = 0; row < rows / (Pairs is null ? 1 : 2); row++)
        {
            long window = sampler.Window(windows.Count, stream, batch, row);
            count += Pairs is null ? windows.Targets(window) : windows.Members(window).Length;
        }

        return count;
    }

    /// <summary>The number of epochs in a number of training batches.</summary>
    public double Epochs(double batches) =>
        trainingConversations is not null ? training.EpochsOf(trainingConversations.Count, batches) :
        trainingWindows is not null ? training.EpochsOf(trainingWindows.Count, batches) : training.Epochs(data.Training.Length, batches);

    private void Fill(BatchSampler sampler, bool onTraining, ulong stream, ulong batch)
    {
        TokenSequence tokens = onTraining ? data.Training : data.Validation;
        if ((onTraining ? trainingConversations : validationConversations) is { } conversations)
        {
            if (Pairs is not null)
            {
                Pairs.Clear();
                for (int row = 0; row < rows; row += 2)
                    FillPair(conversations, sampler.Window(conversations.Count, stream, batch, row / 2), row);
                return;
            }

            for (int row = 0, block = inputs.Length / rows; row < rows; row++)
            {
                long window = sampler.Window(conversations.Count, stream, batch, row);
                conversations.Fill(window, inputs.AsSpan(row * block, block), next.AsSpan(row * block, block), documents.AsSpan(row * block, block));
            }

            return;
        }

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

    private void FillPair(ConversationWindows windows, long window, int row)
    {
        int block = inputs.Length / rows;
        for (int side = 0; side < 2; side++)
        {
            int start = (row + side) * block;
            windows.Fill(window, inputs.AsSpan(start, block), next.AsSpan(start, block), documents.AsSpan(start, block), side);
        }

        Pairs!.Add(windows.Members(window), row, next, documents);
    }

    /// <summary>Span corruption for encoder–decoder models; null for other models.</summary>
    /// <exception cref="UserException">The model has too few sentinels or positions, or its configuration does not name the tokens.</exception>
    internal static SpanCorruption? CorruptionOf(LanguageModel model, int block, double fraction, double meanSpan, ulong seed)
    {
        if (!model.HasEncoder)
            return null;
        SpanTokens tokens = model.Config.SpanTokens
            ?? throw new UserException($"{model.Config.Family} is an encoder–decoder model, but its configuration has no sentinel tokens for span corruption; train it from code, with pairs as a {nameof(TokenBatch)}");
        SpanCounts counts = SpanCounts.Of(block, fraction, meanSpan);
        FormattableString settings = $"{nameof(TrainingSettings.Block):setting} {block} with {nameof(TrainingSettings.MaskedFraction):setting} {fraction} and {nameof(TrainingSettings.MeanSpan):setting} {meanSpan}";
        int positions = model.Config.ContextLength, vocabulary = model.Config.VocabularySize;
        if (Math.Max(counts.InputLength, counts.TargetLength) > positions)
            throw UserException.NamingSettings($"{settings}: the encoder reads {counts.InputLength} tokens and the decoder {counts.TargetLength}, but the model has {positions} positions; use a smaller {nameof(TrainingSettings.Block):setting}");
        IReadOnlyList<int> sentinels = tokens.Sentinels.Count == 0 ? SpanTokens.Last(Math.Min(counts.Spans, vocabulary), vocabulary) : tokens.Sentinels;
        if (sentinels.Count < counts.Spans)
            throw UserException.NamingSettings($"{settings}: {counts.Spans} spans are hidden, but the model has {sentinels.Count} sentinel tokens; use a larger {nameof(TrainingSettings.MeanSpan):setting}, or a smaller {nameof(TrainingSettings.MaskedFraction):setting} or {nameof(TrainingSettings.Block):setting}");
        if (tokens.End is not { } end || (uint)end >= (uint)vocabulary)
            throw new UserException("the model's config.json has no eos_token_id within its vocabulary, so sequences cannot end; add it");
        if (sentinels.Contains(end) || sentinels.Contains(tokens.Padding) || sentinels.Distinct().Count() < sentinels.Count)
            throw new UserException("the model's sentinel tokens must differ from each other, from eos_token_id and from pad_token_id; correct sentinel_token_ids in its config.json");
        return new SpanCorruption(sentinels, end, tokens.Padding, block, fraction, meanSpan, seed);
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
        UserException.NamingSettings($"{data.Source}: with {nameof(TrainingSettings.Documents):setting} there is nothing to {use}, since no document has two tokens; leave {nameof(TrainingSettings.Documents):setting} out, or check how the ends were found");
}
