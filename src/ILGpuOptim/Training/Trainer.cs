using System.Diagnostics;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Training;

/// <summary>What one update did.</summary>
/// <param name="Step">Finished updates.</param>
/// <param name="Loss">The mean loss of the update's batches, in nats a token.</param>
/// <param name="LearningRate">The rate that was used.</param>
/// <param name="GradientNorm">The global norm before clipping.</param>
public readonly record struct StepResult(long Step, float Loss, double LearningRate, float GradientNorm)
{
    /// <summary>The time of the step.</summary>
    public TimeSpan Duration { get; init; }

    /// <summary>The optimizer's part of it; on a GPU only with <see cref="Trainer.TimesUpdates"/>.</summary>
    public TimeSpan UpdateDuration { get; init; }
}

/// <summary>The loss stopped being a number.</summary>
/// <param name="message">At which step, in which tensor, and what to do.</param>
public sealed class DivergedException(string message) : UserException(message);

/// <summary>Trains a model on a data set: batches, gradients, clipping, schedule, updates. It writes no files.</summary>
public sealed class Trainer : IDisposable
{
    private const ulong TrainingStream = 0, ValidationStream = 1;

    private readonly Dataset data;
    private readonly BatchSampler sampler;
    private readonly TokenMasking? masking;
    private readonly Schedule schedule;
    private readonly GradientClipping clipping;
    private readonly Parameter[] trained;
    private readonly int[] inputs, targets;
    private TimeSpan updates;

    /// <summary>The loss and the gradient's norm on the device, read back together: a step waits for its device once.</summary>
    private readonly Block measures;

    /// <summary>Prepares training from the model's present parameters.</summary>
    /// <exception cref="UserException">The settings, the data and the model do not fit together.</exception>
    public Trainer(Device device, LanguageModel model, Dataset data, TrainingSettings settings)
    {
        settings.Check();
        data.CheckBlock(settings.Block);
        if (data.Vocabulary > model.Config.Vocabulary)
            throw new UserException($"{data.Source}: the tokens reach {data.Vocabulary - 1}, but the model knows {model.Config.Vocabulary}");
        Device = device;
        Model = model;
        this.data = data;
        Settings = settings;
        sampler = new BatchSampler(settings.Block, settings.Batch, settings.Seed);
        masking = MaskingOf(model, settings);
        schedule = new Schedule(settings.Schedule, settings.Steps, settings.Warmup, settings.FinalRate);
        Optimizer = Registry.Create(settings.Optimizer with { HeadSize = settings.Optimizer.HeadSize ?? model.Config.Width / model.Config.HeadCount }, model.AllParameters, out IReadOnlyList<ParameterGroup> groups);
        Groups = groups;
        trained = [.. model.AllParameters.Where(parameter => !parameter.IsFrozen)];
        clipping = new GradientClipping(device, trained);
        Tape = new Tape(device) { Seed = settings.Seed };
        if (settings.Layerwise)
        {
            if (Optimizer.NeedsAllGradients)
                throw new UserException($"--layerwise: {Optimizer.Name} scales gradients by the norm of all of them, which is not known when the first parameter is updated; take another optimizer");
            Tape.GradientReady = UpdateOne;
        }

        inputs = new int[settings.Batch * settings.Block];
        targets = new int[inputs.Length];
        measures = device.Pool.Rent(2);
    }

    /// <summary>Where everything runs.</summary>
    public Device Device { get; }

    /// <summary>How it is trained.</summary>
    public TrainingSettings Settings { get; }

    /// <summary>What is trained.</summary>
    public LanguageModel Model { get; }

    /// <summary>What changes it.</summary>
    public Optimizer Optimizer { get; }

    /// <summary>How the parameters were grouped.</summary>
    public IReadOnlyList<ParameterGroup> Groups { get; }

    /// <summary>Records forward passes; holds the counter of random draws.</summary>
    public Tape Tape { get; }

    /// <summary>Finished updates.</summary>
    public long StepNumber { get; internal set; }

    /// <summary>Tokens of an update.</summary>
    public long TokensPerStep => (long)inputs.Length * Settings.Accumulate;

    /// <summary>Whether each step waits for the device after its update, so that <see cref="StepResult.UpdateDuration"/> is the time of the work, not of launching it.</summary>
    public bool TimesUpdates { get; set; }

    /// <summary>One update.</summary>
    /// <exception cref="DivergedException">
    /// The loss is no number; the parameters are those of the step before, unless updates are layer-wise and only a gradient was none.
    /// </exception>
    public StepResult Step()
    {
        long began = Stopwatch.GetTimestamp();
        double rate = schedule.Factor(StepNumber);
        Optimizer.LearningRateFactor = rate;
        updates = TimeSpan.Zero;
        Tape.IsTraining = Tape.IsRecording = true;
        for (int i = 0; i < Settings.Accumulate; i++)
        {
            Fill(data.Training, TrainingStream, (ulong)StepNumber * (ulong)Settings.Accumulate + (ulong)i);
            Tensor batchLoss = Model.Loss(Tape, inputs, targets, Settings.Batch, 1f / Settings.Accumulate);
            if (Settings.Layerwise && !float.IsFinite(batchLoss.Item()))
                throw new DivergedException(Describe(batchLoss.Item()));
            Tape.Backward(batchLoss);
            if (i == 0)
                Device.Copy(batchLoss.Data, measures.Slice(0, 1));
            else
                Device.Map(new AddRule(), 1, 1, measures.Slice(0, 1), batchLoss.Data);
            Tape.Reset();
        }

        Block? factor = Settings.Layerwise ? clipping.Total(0) : clipping.Measure(Settings.Clip);
        Device.Copy(clipping.Norm, measures.Slice(1, 1));
        Span<float> read = stackalloc float[2];
        Device.Download(measures, read);
        (float loss, float norm) = (read[0], read[1]);
        if (!float.IsFinite(loss) || !float.IsFinite(norm))
            throw new DivergedException(Describe(loss));
        if (!Settings.Layerwise)
        {
            long updating = Stopwatch.GetTimestamp();
            Optimizer.GradientFactor = factor;
            Optimizer.Step();
            if (TimesUpdates)
                Device.Synchronize();
            updates = Stopwatch.GetElapsedTime(updating);
            foreach (Parameter parameter in trained)
                parameter.ClearGradient();
        }

        StepNumber++;
        return new StepResult(StepNumber, loss, Settings.Optimizer.LearningRate * rate, norm)
        {
            Duration = Stopwatch.GetElapsedTime(began),
            UpdateDuration = updates,
        };
    }

    /// <summary>Updates a parameter within the backward pass and gives its gradient back.</summary>
    private void UpdateOne(Parameter parameter)
    {
        if (TimesUpdates)
            Device.Synchronize();
        long updating = Stopwatch.GetTimestamp();
        clipping.Add(parameter);
        Optimizer.Step(parameter);
        parameter.ReleaseGradient();
        if (TimesUpdates)
            Device.Synchronize();
        updates += Stopwatch.GetElapsedTime(updating);
    }

    /// <summary>The mean loss over batches that are the same each time, in nats a token; NaN when nothing validates.</summary>
    public double Validate(int batches, bool onTraining = false)
    {
        TokenSequence tokens = onTraining ? data.Training : data.Validation;
        if (tokens.Length == 0 || batches == 0)
            return double.NaN;
        Tape.IsTraining = Tape.IsRecording = false;
        double sum = 0;
        for (int i = 0; i < batches; i++)
        {
            Fill(tokens, ValidationStream, (ulong)i);
            sum += Model.Loss(Tape, inputs, targets, Settings.Batch).Item();
            Tape.Reset();
        }

        return sum / batches;
    }

    /// <summary>What hides tokens for a model that fills them in; null for one that goes on with a text.</summary>
    /// <exception cref="UserException">The model does not say which token is the mask.</exception>
    internal static TokenMasking? MaskingOf(LanguageModel model, TrainingSettings settings) => model.IsCausal
        ? null
        : new TokenMasking(MaskOf(model), model.Config.Vocabulary, settings.Block, settings.MaskedPart, settings.Seed);

    /// <summary>The id of a masked language model's mask.</summary>
    /// <exception cref="UserException">The model does not say.</exception>
    internal static int MaskOf(LanguageModel model) => (model.Config as BertConfig)?.MaskToken
        ?? throw new UserException("the model's config.json has no mask_token_id, so there is nothing to hide tokens behind; add it (the line of [MASK] in vocab.txt, counted from 0)");

    private void Fill(TokenSequence tokens, ulong stream, ulong batch)
    {
        sampler.Fill(tokens, stream, batch, inputs, targets);
        masking?.Apply(stream, batch, inputs, targets);
    }

    private string Describe(float loss)
    {
        foreach (Parameter parameter in trained)
        {
            string? broken = !AllFinite(parameter.ToArray()) ? "" : parameter is { HasGradient: true, Gradient: { } gradient } && !AllFinite(Downloaded(gradient)) ? "the gradient of " : null;
            if (broken is not null)
            {
                return $"step {StepNumber + 1}: the loss is {loss}, and {broken}{parameter.Name} is not finite; " +
                    "lower --lr, warm up longer or clip harder, and go on from the last checkpoint";
            }
        }

        return $"step {StepNumber + 1}: the loss is {loss} although every parameter is finite; lower --lr, warm up longer or clip harder";
    }

    private static bool AllFinite(float[] values) => Array.TrueForAll(values, float.IsFinite);

    private float[] Downloaded(Block block)
    {
        var values = new float[block.Length];
        Device.Download(block, values);
        return values;
    }

    /// <summary>Gives all memory but the model's back.</summary>
    public void Dispose()
    {
        Tape.Reset();
        Device.Pool.Return(measures);
        clipping.Dispose();
        Optimizer.Dispose();
    }
}
