using System.Diagnostics;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Training;

/// <summary>The loss stopped being a number.</summary>
/// <param name="message">At which step, in which tensor, and what to do.</param>
public sealed class DivergedException(string message) : UserException(message);

/// <summary>Trains a model on a data set: batches, gradients, clipping, schedule, updates. It writes no files.</summary>
public sealed class Trainer : IDisposable
{
    private readonly Dataset data;
    private readonly TrainingBatches batches;
    private readonly Schedule schedule;
    private readonly GradientClipping clipping;
    private readonly Parameter[] trained;
    private TimeSpan updates;
    private bool isDisposed, hasUpdated;
    private int stepping;

    /// <summary>The tape's random stream before a step that has not come to its end.</summary>
    private ulong? unfinished;

    /// <summary>The step in whose update something failed: some parameters may be updated and others not.</summary>
    private long? halfDone;

    /// <summary>The loss and the gradient's norm on the device, read back together.</summary>
    private readonly Block measures;

    /// <summary>Steps that were launched and whose loss and norm were not checked yet.</summary>
    private readonly Queue<StepResult> unseen = [];

    /// <summary>Prepares training from the model's present parameters.</summary>
    /// <exception cref="UserException">The settings, the data and the model do not fit together.</exception>
    /// <exception cref="ArgumentException">The model is on another device.</exception>
    public Trainer(Device device, LanguageModel model, Dataset data, TrainingSettings settings)
    {
        settings.Check();
        model.CheckDevice(device);
        if (data.VocabularySize > model.Config.VocabularySize)
            throw new UserException($"{data.Source}: the tokens reach {data.VocabularySize - 1}, but the model knows {model.Config.VocabularySize}");
        Device = device;
        Model = model;
        model.Recomputes = settings.Recompute;
        this.data = data;
        Settings = settings;
        batches = new TrainingBatches(data, model, settings);
        schedule = new Schedule(settings.Schedule, settings.Steps, Math.Min(settings.Warmup, settings.Steps), settings.FinalRate);
        Optimizer = Registry.Create(settings.Optimizer with { HeadSize = settings.Optimizer.HeadSize ?? model.Config.HiddenSize / model.Config.Heads }, model.AllParameters, out IReadOnlyList<ParameterGroup> groups);
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

        Notes = [.. NotesOn(settings, model, Optimizer)];
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

    /// <summary>Settings that were cut to what is possible, for people.</summary>
    public IReadOnlyList<string> Notes { get; }

    /// <summary>Records forward passes; holds the counter of random draws.</summary>
    public Tape Tape { get; }

    /// <summary>Updates that were made, or on a GPU launched.</summary>
    public long StepNumber { get; internal set; }

    /// <summary>Tokens of an update, with padding.</summary>
    public long TokensPerStep => (long)batches.Length * Settings.Accumulate;

    /// <summary>Epochs that a number of updates takes: 1.5 ends in the middle of the second.</summary>
    public double EpochsAfter(long steps) => batches.Epochs((double)steps * Settings.Accumulate);

    /// <summary>Whether each step waits for the device after its update, so that <see cref="StepResult.UpdateDuration"/> is the time of the work, not of launching it.</summary>
    public bool TimesUpdates { get; set; }

    /// <summary>Ends a step between two of its batches (<see cref="TrainingSettings.Accumulate"/>).</summary>
    public CancellationToken Stop { get; set; }

    /// <summary>Called with each step, in their order, as soon as its loss and norm were seen to be numbers.</summary>
    public Action<StepResult>? Measured { get; set; }

    /// <summary>
    /// Makes one update. On asynchronous devices this call does not block: it launches the update, then checks the loss and gradient norm of the
    /// previous step.
    /// </summary>
    /// <exception cref="OperationCanceledException"><see cref="Stop"/> ended the step; it left no trace.</exception>
    /// <exception cref="DivergedException">
    /// A loss or norm is no number. Where launches return when their work is done, it is this step's, and the parameters are those of the step
    /// before, unless updates are layer-wise and only a gradient was none. Elsewhere it is an earlier step's, which has gone into the parameters.
    /// </exception>
    /// <exception cref="ObjectDisposedException">The trainer, its model or its device was disposed.</exception>
    /// <exception cref="InvalidOperationException">An earlier step failed within its update, so that parameters of two steps are mixed.</exception>
    /// <remarks>
    /// A step that fails before its update leaves everything as it was: no gradients, no memory lent, no random numbers drawn. The next is the one that would
    /// have come. Gradients that were added before the step are dropped.
    /// </remarks>
    public StepResult Step()
    {
        ObjectDisposedException.ThrowIf(isDisposed, this);
        if (halfDone is { } failed)
            throw new InvalidOperationException($"step {failed} failed within its update, so some parameters are a step ahead of others; go on from the last checkpoint");
        long began = Stopwatch.GetTimestamp();
        double rate = schedule.Factor(StepNumber);
        StepResult result;
        if (Interlocked.Exchange(ref stepping, 1) != 0)
            throw new InvalidOperationException("one thread at a time may use a trainer, and a step must not begin within another");
        try
        {
            Undo();
            unfinished = Tape.RandomStream;
            result = Launch(rate);
            (StepNumber, hasUpdated, halfDone, unfinished) = (StepNumber + 1, true, null, null);
        }
        catch
        {
            TryUndo();
            throw;
        }
        finally
        {
            Volatile.Write(ref stepping, 0);
        }

        result.UpdateDuration = updates;
        result.Duration = Stopwatch.GetElapsedTime(began);
        unseen.Enqueue(result);
        See(Device.IsAsynchronous && !TimesUpdates ? 1 : 0);
        return result;
    }

    private StepResult Launch(double rate)
    {
        Optimizer.LearningRateFactor = rate;
        updates = TimeSpan.Zero;
        Tape.IsTraining = Tape.IsRecording = true;
        for (int i = 0; i < Settings.Accumulate; i++)
        {
            if (i > 0)
                Stop.ThrowIfCancellationRequested();
            batches.FillTraining((ulong)StepNumber * (ulong)Settings.Accumulate + (ulong)i);
            Tensor batchLoss = Model.Loss(Tape, batches.Tokens, batches.Targets, 1f / Settings.Accumulate);
            if (Settings.Layerwise && !Device.IsAsynchronous && !float.IsFinite(batchLoss.Item()))
                throw new DivergedException(Describe(batchLoss.Item()));
            Tape.Backward(batchLoss);
            if (i == 0)
                Device.Copy(batchLoss.Data, measures.Slice(0, 1));
            else
                Device.Map(new AddRule(), 1, 1, measures.Slice(0, 1), batchLoss.Data);
            Tape.Reset();
        }

        Block? factor = Settings.Layerwise ? clipping.Total(0) : clipping.Measure(Tape.Gradients, Settings.Clip);
        Device.Copy(clipping.Norm, measures.Slice(1, 1));
        var result = new StepResult(StepNumber + 1, EpochsAfter(StepNumber + 1), Settings.Optimizer.LearningRate * rate, Device.ReadLater(measures));
        if (!Device.IsAsynchronous)
            Check(result);
        if (!Settings.Layerwise)
        {
            long updating = Stopwatch.GetTimestamp();
            Optimizer.GradientFactor = factor;
            halfDone = StepNumber + 1;
            Optimizer.Step(Tape.Gradients);
            if (TimesUpdates)
                Device.Synchronize();
            updates = Stopwatch.GetElapsedTime(updating);
            Tape.Gradients.Clear();
        }

        return result;
    }

    /// <summary>Leaves no trace of a step that failed, but for what its update has changed.</summary>
    private void Undo()
    {
        if (unfinished is not { } stream)
            return;
        Tape.Reset();
        Tape.RandomStream = stream;

        // After a first update gradients keep their memory, unless updates are layer-wise.
        if (hasUpdated && !Settings.Layerwise)
            Tape.Gradients.Clear();
        else
            Tape.Gradients.Release();
        unfinished = null;
    }

    /// <summary>Undoes a step now, or before the next one while another thread uses the device: the first error is the one to report.</summary>
    private void TryUndo()
    {
        try
        {
            Undo();
        }
        catch (InvalidOperationException)
        {
        }
    }

    /// <summary>Waits for every step that was launched: none of them can turn out to have diverged afterwards.</summary>
    /// <exception cref="DivergedException">One has.</exception>
    public void Settle() => See(0);

    private void See(int exceptLast)
    {
        while (unseen.Count > exceptLast)
        {
            StepResult result = unseen.Dequeue();
            Check(result);
            Measured?.Invoke(result);
        }
    }

    private void Check(StepResult result)
    {
        if (float.IsFinite(result.Loss) && float.IsFinite(result.GradientNorm))
            return;
        throw new DivergedException(Device.IsAsynchronous
            ? $"step {result.Step}: the loss is {result.Loss} and the gradient's norm {result.GradientNorm}; the parameters on {Device.Name} are spoilt by it, checkpoints are not: " +
                "lower --lr, warm up longer or clip harder, and go on from the last checkpoint"
            : Describe(result.Loss));
    }

    /// <summary>Updates a parameter within the backward pass and gives its gradient back.</summary>
    private void UpdateOne(Parameter parameter)
    {
        if (TimesUpdates)
            Device.Synchronize();
        long updating = Stopwatch.GetTimestamp();
        clipping.Add(Tape.Gradients, parameter);
        halfDone = StepNumber + 1;
        Optimizer.Step(Tape.Gradients, parameter);
        Tape.Gradients.Release(parameter);
        if (TimesUpdates)
            Device.Synchronize();
        updates += Stopwatch.GetElapsedTime(updating);
    }

    /// <summary>The mean loss over batches that are the same each time, in nats a token; NaN when nothing validates.</summary>
    public double Validate(int batches, bool onTraining = false)
    {
        ObjectDisposedException.ThrowIf(isDisposed, this);
        if ((onTraining ? data.Training : data.Validation).Length == 0 || batches == 0)
            return double.NaN;
        Tape.IsTraining = Tape.IsRecording = false;
        Block losses = Device.Pool.Rent(batches);
        try
        {
            for (int i = 0; i < batches; i++)
            {
                this.batches.FillValidation(onTraining, (ulong)i);
                Device.Copy(Model.Loss(Tape, this.batches.Tokens, this.batches.Targets).Data, losses.Slice(i, 1));
                Tape.Reset();
            }

            double sum = 0;
            foreach (float loss in Downloaded(losses))
                sum += loss;
            return sum / batches;
        }
        finally
        {
            Tape.Reset();
            Device.Pool.Return(losses);
        }
    }

    /// <summary>Token masking for masked language models; null for causal models.</summary>
    /// <exception cref="UserException">The model does not say which token is the mask.</exception>
    internal static TokenMasking? MaskingOf(LanguageModel model, TrainingSettings settings) => model.IsCausal
        ? null
        : new TokenMasking(MaskOf(model), model.Config.VocabularySize, settings.Block, settings.MaskedPart, settings.Seed);

    /// <summary>The id of a masked language model's mask.</summary>
    /// <exception cref="UserException">The model does not say.</exception>
    internal static int MaskOf(LanguageModel model) => model.Config.MaskToken
        ?? throw new UserException("the model's config.json has no mask_token_id, so there is nothing to hide tokens behind; add it (the line of [MASK] in vocab.txt, counted from 0)");

    private static IEnumerable<string> NotesOn(TrainingSettings settings, LanguageModel model, Optimizer optimizer)
    {
        if (model.HasEncoder && model.Config.SpanTokens is { Sentinels.Count: 0 })
            yield return "neither config.json nor the tokenizer names sentinel tokens, so the last ids of the vocabulary stand for hidden spans; if others were meant, add sentinel_token_ids to config.json";
        if (settings.Warmup > settings.Steps)
            yield return $"warm-up of {settings.Warmup} steps is longer than the run; it is shortened to {settings.Steps}";
        if (settings.Lora is { } lora && model.Adapters.Count > 0 && model.Adapters[0].Rank < lora.Rank)
            yield return $"LoRA rank {lora.Rank} is above the short side of every adapted matrix; it is cut to {model.Adapters[0].Rank}";
        int rank = (Registry.Find(settings.Optimizer.Name).Options(settings.Optimizer, true) as LowRankOptions)?.Rank ?? 0;
        foreach (var cut in optimizer.States
            .Where(state => state.Options is LowRankOptions options && options.Rank > 0 && options.Rank < rank)
            .GroupBy(state => ((LowRankOptions)state.Options).Rank))
        {
            yield return $"rank {rank} is above the short side of {cut.Count()} {(cut.Count() == 1 ? "matrix" : "matrices")}, such as {cut.First().Parameter.Name}; it is cut to {cut.Key}";
        }
    }

    private string Describe(float loss)
    {
        foreach (Parameter parameter in trained)
        {
            string? broken = !AllFinite(parameter.ToArray()) ? "" : Tape.Gradients.Has(parameter) && !AllFinite(Downloaded(Tape.Gradients[parameter])) ? "the gradient of " : null;
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

    /// <summary>Gives all memory but the model's back; again, does nothing.</summary>
    public void Dispose()
    {
        if (isDisposed)
            return;
        isDisposed = true;
        Tape.Dispose();
        Device.Pool.Return(measures);
        clipping.Dispose();
        Optimizer.Dispose();
    }
}
