using System.Diagnostics;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Distributed;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Training;

/// <summary>A loss or gradient norm is not finite.</summary>
/// <param name="message">The step, the tensor and the remedy.</param>
public sealed class DivergedException(string message) : UserException(message);

/// <summary>Trains a model on a data set: batches, gradients, clipping, learning-rate schedule, updates. Writes no files.</summary>
public sealed partial class Trainer : IDisposable
{
    private readonly Dataset data;
    private readonly TrainingBatches batches;
    private readonly GradientClipping clipping;
    private readonly UpdateNorms? norms;
    private readonly WeightAverage? average;
    private readonly Parameter[] trained;
    private TimeSpan updates;
    private bool isDisposed, hasUpdated;
    private int stepping;

    /// <summary>The tape's random stream before an unfinished step.</summary>
    private ulong? unfinished;

    /// <summary>The step whose update failed: some parameters may be updated and others not.</summary>
    private long? halfDone;

    /// <summary>The loss, the gradient norm, and for pairs the reward margin and the accuracy on the device, read back together.</summary>
    private readonly Block measures;

    /// <summary>Launched steps whose loss and norm were not checked yet.</summary>
    private readonly Queue<StepResult> launched = [];

    /// <summary>Creates a trainer that starts from the model's current parameters.</summary>
    /// <exception cref="UserException">The settings, the data and the model contradict each other.</exception>
    /// <exception cref="ArgumentException">The model is on another device.</exception>
    public Trainer(Device device, LanguageModel model, Dataset data, TrainingSettings settings)
        : this(device, model, data, settings, null)
    {
    }

    /// <summary>
    /// Creates a trainer that shares the shards of each batch (<see cref="TrainingSettings.Shards"/>) and the optimizer's state with the other ranks of a
    /// communicator. All ranks have models with the same parameters, and call <see cref="Step"/> and <see cref="Validate"/> together.
    /// </summary>
    /// <exception cref="UserException">The settings, the data, the model and the ranks contradict each other.</exception>
    /// <exception cref="ArgumentException">The model is on another device.</exception>
    public Trainer(Device device, LanguageModel model, Dataset data, TrainingSettings settings, Communicator? communicator)
    {
        settings = settings.Filled();
        settings.Check();
        CheckRanks(settings, communicator);
        model.CheckDevice(device);
        if (data.VocabularySize > model.Config.VocabularySize)
            throw new UserException($"{data.Source}: the tokens reach {data.VocabularySize - 1}, but the model has a vocabulary of {model.Config.VocabularySize}");
        if (settings.Recompute && !model.SupportsRecomputation)
            throw UserException.NamingSettings($"{nameof(settings.Recompute):setting}: {model.Config.Family} cannot recompute activations ({model.GetType().Name} has no {nameof(LanguageModel.SupportsRecomputation)}); leave it out");
        if (settings.Documents && !model.SupportsDocuments)
            throw UserException.NamingSettings($"{nameof(settings.Documents):setting}: {model.Config.Family} cannot keep documents apart ({model.GetType().Name} has no {nameof(LanguageModel.SupportsDocuments)}); leave it out");
        if (settings.Precision == Precision.BF16 && !device.HasNarrowAttention)
            throw UserException.NamingSettings($"{nameof(settings.Precision):setting} bf16: attention reads f32 only on {device.Name}; use {nameof(settings.Precision):setting} f32 or tf32, or {nameof(settings.Device):setting} cpu");
        CheckUsed(settings, model, data);
        Device = device;
        Model = model;
        model.Recomputes = settings.Recompute;
        this.data = data;
        Settings = settings;
        batches = new TrainingBatches(data, model, settings);
        RateFactor = new Schedule(settings.Schedule!.Value, settings.Steps, Math.Min(settings.Warmup!.Value, settings.Steps), settings.FinalRate).Factor;
        Communicator = communicator;
        Optimizer = Registry.Create(OwnSettings(), model.AllParameters, communicator, out IReadOnlyList<ParameterGroup> groups);
        Groups = groups;
        trained = [.. model.AllParameters.Where(parameter => !parameter.IsFrozen)];
        clipping = new GradientClipping(device, trained, Optimizer.Ownership);
        if (settings.Ema > 0 && Optimizer.HasEvaluationWeights)
            throw UserException.NamingSettings($"{nameof(settings.Ema):setting} {settings.Ema}: {Optimizer.Name} averages the weights itself; leave it out");
        average = settings.Ema > 0 ? new WeightAverage(device, trained, settings.Ema) : null;
        norms = settings.LayerInterval > 0 ? new UpdateNorms(device, trained, Optimizer.Ownership) : null;
        Tape = new Tape(device) { Seed = settings.Seed, Precision = settings.Precision };
        if (settings.Layerwise)
        {
            if (Optimizer.NeedsAllGradients)
                throw UserException.NamingSettings($"{nameof(settings.Layerwise):setting}: {Optimizer.Name} combines values of all parameters, which are not known when the first one is updated; take another optimizer");
            Tape.GradientReady = UpdateOne;
        }

        shardMeasures = new float[settings.Shards * (data.HasPairs ? BatchLosses.Size : 1)];
        localShards = settings.Shards / (communicator?.Size ?? 1);
        gradientSum = new GradientSum(device, settings.Shards > 1 ? settings.GradientExchange : GradientExchange.F32, trained.Select(parameter => parameter.Length).DefaultIfEmpty().Max());
        sums = localShards > 1 ? new ShardSums(device, trained, localShards, gradientSum) : null;
        exchange = communicator?.Size > 1 ? new ParameterExchange(communicator, Optimizer.Ownership!, trained, Tape.Gradients, gradientSum, settings.Layerwise) : null;
        Tape.BetweenOperations = exchange is null ? null : exchange.Advance;
        if (exchange is not null && !settings.Layerwise)
        {
            Tape.GradientReady = ReduceOne;
            Optimizer.Passed = parameter => exchange.Updated(parameter);
        }

        guard = settings.SpikeThreshold > 0 ? new SpikeGuard(settings.SpikeThreshold, settings.SpikeMeasure, settings.SpikeWindow) : null;
        Notes = [.. NotesOn(device, settings, model, Optimizer)];
        measures = device.Pool.Rent(data.HasPairs ? 4 : 2);
    }

    /// <summary>The device of the model.</summary>
    public Device Device { get; }

    /// <summary>The training settings.</summary>
    public TrainingSettings Settings { get; }

    /// <summary>The model.</summary>
    public LanguageModel Model { get; }

    /// <summary>The optimizer.</summary>
    public Optimizer Optimizer { get; }

    /// <summary>The parameter groups of the optimizer.</summary>
    public IReadOnlyList<ParameterGroup> Groups { get; }

    /// <summary>Notes for the user about settings that were reduced to what is possible.</summary>
    public IReadOnlyList<string> Notes { get; }

    /// <summary>The tape of forward passes, with the counter of the random stream.</summary>
    public Tape Tape { get; }

    /// <summary>The number of updates made; on a GPU, of updates launched.</summary>
    public long StepNumber { get; internal set; }

    /// <summary>Tokens per update, including padding.</summary>
    public long TokensPerStep => (long)batches.Length * BatchesPerStep;

    /// <summary>The factor of the peak learning rate at a step, from 0: that of the schedule.</summary>
    internal Func<long, double> RateFactor { get; set; }

    /// <summary>The average of the weights; null without one.</summary>
    internal WeightAverage? Average => average;

    /// <summary>True within <see cref="Step"/>.</summary>
    internal bool IsStepping => Volatile.Read(ref stepping) != 0;

    /// <summary>The number of epochs after a number of updates: 1.5 is the middle of the second.</summary>
    public double EpochsAfter(long steps) => batches.Epochs((double)steps * BatchesPerStep);

    /// <summary>Makes each step wait for the device after its update, so that <see cref="StepResult.UpdateDuration"/> measures the computation instead of its launch.</summary>
    public bool TimesUpdates { get; set; }

    /// <summary>Cancels a step between two of its batches (<see cref="TrainingSettings.Accumulate"/>).</summary>
    public CancellationToken Stop { get; set; }

    /// <summary>Called with each step, in order, once its loss and gradient norm are known to be finite, and with each that was skipped (<see cref="StepResult.Spike"/>).</summary>
    public Action<StepResult>? Measured { get; set; }

    /// <summary>
    /// Makes one update. On asynchronous devices this call does not block: it launches the update, then checks the loss and gradient norm of the
    /// previous step.
    /// </summary>
    /// <exception cref="SpikeException">The step spiked, and the settings stop the run; the step changed nothing.</exception>
    /// <exception cref="OperationCanceledException"><see cref="Stop"/> cancelled the step, which changed nothing.</exception>
    /// <exception cref="DivergedException">
    /// A loss or norm is not finite. On synchronous devices it is this step's, and the parameters are those of the previous step, unless updates are
    /// layer-wise and only a gradient is not finite. On asynchronous devices it is an earlier step's, whose update has already been applied.
    /// </exception>
    /// <exception cref="ObjectDisposedException">The trainer, its model or its device was disposed.</exception>
    /// <exception cref="CommunicationException">Another rank failed or did not answer in time.</exception>
    /// <exception cref="InvalidOperationException">
    /// An earlier step failed within its update, so some parameters are a step ahead of others; or an exchange with other ranks failed before.
    /// </exception>
    /// <remarks>
    /// A step that fails before its update changes nothing: no gradients, no memory in use, no random numbers consumed. The next call repeats the step,
    /// unless an exchange with other ranks failed. Gradients that were added before the step are dropped.
    /// <para>With other ranks, parameters that these have updated may still be under way on return; the next forward pass takes each as it arrives. A read returns
    /// once the other ranks use a parameter, the trainer or the communicator again. A rank must therefore not block on another rank by other means, such as a lock, while
    /// that one reads. After the last step of the settings, all have arrived.</para>
    /// </remarks>
    public StepResult Step()
    {
        ObjectDisposedException.ThrowIf(isDisposed, this);
        CheckWhole();
        long began = Stopwatch.GetTimestamp();
        double rate = RateFactor(StepNumber);
        StepResult result;
        if (Interlocked.Exchange(ref stepping, 1) != 0)
            throw new InvalidOperationException("one thread at a time may use a trainer, and a step must not begin within another");
        try
        {
            Undo();
            unfinished = Tape.RandomStream;
            result = Launch(rate);
            (StepNumber, hasUpdated, halfDone, unfinished) = (StepNumber + 1, hasUpdated || result.Spike is null, null, null);
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
        launched.Enqueue(result);
        CheckLaunched(Device.IsAsynchronous && !TimesUpdates && guard is null ? 1 : 0);
        return result;
    }

    /// <summary>Refuses parameters that an earlier failure has left between two steps, or on some ranks only.</summary>
    internal void CheckWhole()
    {
        if (halfDone is { } failed)
            throw new InvalidOperationException($"step {failed} failed within its update, so some parameters are a step ahead of others; continue from the last checkpoint");
        exchange?.CheckWhole();
    }

    private StepResult Launch(double rate)
    {
        Optimizer.LearningRateFactor = rate;
        updates = TimeSpan.Zero;
        UpdateNorms? measured = norms is not null && (StepNumber + 1) % Settings.LayerInterval == 0 ? norms : null;
        measured?.Begin();
        average?.Begin();
        Optimizer.Observer = measured;
        Tape.IsTraining = Tape.IsRecording = true;
        if (Settings.Shards == 1)
            RunBatches(0);
        else
            RunShards();
        Block? factor = Settings.Layerwise ? clipping.Total(0) : clipping.Measure(Tape.Gradients, Settings.Clip);
        Device.Copy(clipping.Norm, measures.Slice(1, 1));
        Agreeing?.Invoke();
        var result = new StepResult(StepNumber + 1, EpochsAfter(StepNumber + 1), Settings.Optimizer.Rate * rate, Device.ReadLater(measures), data.HasPairs);
        if (guard is not null && !Settings.Layerwise && Skips(result))
        {
            Tape.Gradients.Clear();
            return result;
        }

        if (guard is not null || !Device.IsAsynchronous)
            Check(result);
        if (Settings.Layerwise)
            guard?.Accept(result.Loss, result.GradientNorm);
        else
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

        exchange?.SendParameters(waits: StepNumber + 1 == Settings.Steps);
        average?.Update();
        EstimateCurvature();
        result.Norms = measured?.Read(clipping.Squares);
        return result;
    }

    /// <summary>Undoes a failed step, except for what its update has changed.</summary>
    private void Undo()
    {
        if (unfinished is not { } stream)
            return;
        Tape.Reset();
        Tape.RandomStream = stream;

        // After the first update, gradients keep their memory unless updates are layer-wise.
        if (hasUpdated && !Settings.Layerwise)
            Tape.Gradients.Clear();
        else
            Tape.Gradients.Release();
        unfinished = null;
    }

    /// <summary>Undoes a step now, or before the next one if another thread uses the device. Errors are ignored, since the first one is reported.</summary>
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

    /// <summary>Waits for every launched step and checks it for divergence; waits for parameters that other ranks have updated.</summary>
    /// <exception cref="DivergedException">A step diverged.</exception>
    /// <exception cref="CommunicationException">Another rank failed or did not answer in time.</exception>
    /// <exception cref="InvalidOperationException">An exchange with other ranks failed before.</exception>
    public void Settle()
    {
        exchange?.FinishParameters();
        CheckLaunched(0);
    }

    private void CheckLaunched(int exceptLast)
    {
        while (launched.Count > exceptLast)
        {
            StepResult result = launched.Dequeue();
            if (result.Spike is null)
                Check(result);
            Measured?.Invoke(result);
        }
    }

    private void Check(StepResult result)
    {
        if (float.IsFinite(result.Loss) && float.IsFinite(result.GradientNorm))
            return;
        throw new DivergedException(Device.IsAsynchronous
            ? $"step {result.Step}: the loss is {result.Loss} and the gradient norm {result.GradientNorm}; the parameters on {Device.Name} are invalid, checkpoints are not: " +
                "lower the learning rate, warm up longer or clip harder, and continue from the last checkpoint"
            : Describe(result.Loss));
    }

    /// <summary>
    /// The mean loss in nats per token, or per pair of answers, over batches that are the same each time, of the weights for evaluation (<see cref="TrainingSettings.Ema"/>, <see cref="Optimizer.EvaluationWeights"/>);
    /// NaN if there are no batches.
    /// </summary>
    public double Validate(int batches, bool onTraining = false) => Measure(batches, onTraining).Loss;

    /// <summary>As <see cref="Validate"/>, with the reward margin and the accuracy of pairs.</summary>
    internal (double Loss, PreferenceMetrics? Preferences) Measure(int batches, bool onTraining)
    {
        ObjectDisposedException.ThrowIf(isDisposed, this);
        if ((onTraining ? data.Training : data.Validation).Length == 0 || batches == 0)
            return (double.NaN, null);
        Tape.IsTraining = Tape.IsRecording = false;
        using IDisposable? evaluated = UseEvaluationWeights();
        int size = data.HasPairs ? BatchLosses.Size : 1;
        Block measured = Device.Pool.Rent((long)batches * size);
        try
        {
            // Each rank evaluates some of the batches.
            int ranks = Communicator?.Size ?? 1;
            for (int i = Communicator?.Rank ?? 0; i < batches; i += ranks)
            {
                this.batches.FillValidation(onTraining, (ulong)i);
                LossOfBatch(1, onTraining).CopyObjective(Device, measured.Slice((long)i * size, size));
                Tape.Reset();
            }

            Span<double> sums = stackalloc double[BatchLosses.Size];
            double weights = 0;
            float[] values = Downloaded(measured);
            Communicator?.Share(values.AsSpan(), i => i / size % ranks);
            for (int i = 0; i < values.Length; i++)
            {
                double weight = this.batches.ValidationWeight(onTraining, (ulong)(i / size));
                sums[i % size] += weight * values[i];
                weights += i % size == 0 ? weight : 0;
            }

            return (sums[0] / weights, data.HasPairs ? new PreferenceMetrics(sums[1] / weights, sums[2] / weights) : null);
        }
        finally
        {
            Tape.Reset();
            Device.Pool.Return(measured);
        }
    }

    private float[] Downloaded(Block block)
    {
        var values = new float[block.Length];
        Device.Download(block, values);
        return values;
    }

    /// <summary>Waits for parameters that other ranks have updated, and frees all memory except the model's. Further calls do nothing.</summary>
    public void Dispose()
    {
        if (isDisposed)
            return;
        isDisposed = true;
        Tape.Dispose();
        Device.Pool.Return(measures);
        clipping.Dispose();
        norms?.Dispose();
        sums?.Dispose();
        exchange?.Dispose();
        gradientSum.Dispose();
        average?.Dispose();
        Optimizer.Dispose();
    }
}
