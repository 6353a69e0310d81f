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
    private readonly DocumentWindows? trainingWindows, validationWindows;
    private readonly int rows;
    private readonly int[] inputs, documents = [], mask = [], lengths = [];

    /// <summary>Prepares batches.</summary>
    /// <exception cref="UserException">The data has no whole window, or nothing to predict.</exception>
    public TrainingBatches(Dataset data, LanguageModel model, TrainingSettings settings)
    {
        this.data = data;
        rows = settings.Batch;
        training = new BatchSampler(settings.Block, rows, settings.Seed, settings.Sampling);
        validating = new BatchSampler(settings.Block, rows, settings.Seed);
        masking = Trainer.MaskingOf(model, settings);
        inputs = new int[rows * settings.Block];
        Targets = new int[inputs.Length];
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
    public TokenBatch Tokens => new(inputs, rows) { Documents = documents, Mask = mask };

    /// <summary>Tokens of a batch, with padding.</summary>
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
            sampler.Fill(tokens, windows, stream, batch, inputs, Targets, lengths);
            for (int row = 0, block = inputs.Length / rows; row < rows; row++)
            {
                mask.AsSpan(row * block, lengths[row]).Fill(1);
                mask.AsSpan((row * block) + lengths[row], block - lengths[row]).Clear();
            }

            masking?.Apply(stream, batch, inputs, Targets, lengths);
            return;
        }

        if (documents.Length > 0)
            sampler.Fill(tokens, (onTraining ? data.TrainingDocuments : data.ValidationDocuments)!, stream, batch, inputs, Targets, documents);
        else
            sampler.Fill(tokens, stream, batch, inputs, Targets);
        masking?.Apply(stream, batch, inputs, Targets);
    }

    private DocumentWindows WindowsOf(DocumentEnds ends, string use, int block)
    {
        var windows = new DocumentWindows(ends, block, predictsNext: masking is null);
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
