using System.Globalization;
using System.Runtime.ExceptionServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Distributed;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Training;

/// <summary>
/// A training run in a folder: <c>settings.json</c>, <c>metrics.jsonl</c> (a line per step, validation and sample) and
/// <c>checkpoints/step-…</c>. A stopped run continues from its newest checkpoint.
/// </summary>
public sealed partial class TrainingRun : IDisposable
{
    /// <summary>The name of the settings file.</summary>
    internal const string SettingsFile = "settings.json";

    /// <summary>The name of the metrics file.</summary>
    internal const string MetricsFile = "metrics.jsonl";

    private const string CheckpointFolder = "checkpoints";

    /// <summary>The name of <c>Resume</c> in messages; see <see cref="UserException.MessageWith"/>.</summary>
    internal const string ResumePath = $"{nameof(TrainingRun)}.{nameof(Resume)}";

    private readonly ITokenizer? tokenizer;
    private readonly FolderLock? folderLock;
    private RunRecord record;
    private RunRecorder? recorder;
    private ExceptionDispatchInfo? failure;
    private double? validation;

    private TrainingRun(string folder, TrainingSettings settings, Trainer trainer, Dataset data, MemoryPlan plan, FolderLock? folderLock)
    {
        this.folderLock = folderLock;
        Plan = plan;
        Folder = folder;
        Settings = settings;
        Trainer = trainer;
        Data = data;
        tokenizer = data.Tokenizer;
        record = new RunRecord { Data = DataFingerprint.Of(data) };
        Notes = [.. trainer.Notes, .. data.Notes];
    }

    /// <summary>The run folder.</summary>
    public string Folder { get; }

    /// <summary>The settings.</summary>
    public TrainingSettings Settings { get; }

    /// <summary>The trainer, with the model and its optimizer.</summary>
    public Trainer Trainer { get; }

    /// <summary>The training and validation tokens.</summary>
    public Dataset Data { get; }

    /// <summary>The memory plan, predicted before any allocation.</summary>
    public MemoryPlan Plan { get; }

    /// <summary>Notes for the user: settings that were reduced to what is possible, and those that changed since the run began.</summary>
    public IReadOnlyList<string> Notes { get; private set; }

    /// <summary>Called after each update or skipped step (<see cref="StepResult.Spike"/>), in order; on a GPU once the next one has been launched.</summary>
    public Action<StepResult>? Stepped { get; set; }

    /// <summary>Called after each validation with the step, the loss on training batches and that on validation batches; NaN where there is no such data.</summary>
    public Action<long, double, double>? Validated { get; set; }

    /// <summary>The reward margin and the accuracy of the last validation's pairs of answers; null before one, and for other data.</summary>
    public PreferenceMetrics? Preferences { get; private set; }

    /// <summary>Called with the folder of each saved checkpoint.</summary>
    public Action<string>? Saved { get; set; }

    /// <summary>Begins a run in a new folder.</summary>
    /// <exception cref="UserException">The folder is not empty, cannot be written or is in use by another process, or the settings are invalid.</exception>
    public static TrainingRun Begin(string folder, TrainingSettings settings, Device device) => Begin(folder, settings, device, null);

    /// <summary>As <see cref="Begin(string, TrainingSettings, Device)"/>, together with the other ranks of a communicator. Rank 0 writes the folder.</summary>
    /// <exception cref="UserException">As for the other overload, or the ranks cannot share the settings' shards.</exception>
    public static TrainingRun Begin(string folder, TrainingSettings settings, Device device, Communicator? communicator)
    {
        bool writes = Writes(communicator);
        if (writes)
            CheckNew(folder);
        TrainingRun? run = null;
        try
        {
            run = Open(folder, settings, device, () =>
            {
                if (!writes)
                    return null;
                Directory.CreateDirectory(folder);
                return FolderLock.Take(folder);
            }, communicator);
            if (writes)
            {
                CheckNew(folder);
                AtomicFolder.WriteText(Path.Combine(folder, SettingsFile), run.record.ToJson(run.Settings));
                Directory.CreateDirectory(Path.Combine(folder, CheckpointFolder));
            }

            run.FindReferences(begins: true);
            return run;
        }
        catch (Exception e)
        {
            run?.Dispose();
            if (e is IOException or UnauthorizedAccessException)
                throw UserException.NamingSettings($"{folder}: the run folder cannot be written: {e.Message}; choose another {nameof(folder):setting}", e);
            throw;
        }
    }

    /// <summary>True for the rank that writes files and calls <see cref="Saved"/> and <see cref="Sampled"/>.</summary>
    private static bool Writes(Communicator? communicator) => communicator is null or { Rank: 0 };

    private static void CheckNew(string folder)
    {
        if (File.Exists(Path.Combine(folder, SettingsFile)))
            throw UserException.NamingSettings($"{folder}: there is a run already; continue it with {ResumePath:setting} {folder}, or choose another {nameof(folder):setting}");
        if (Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder).FirstOrDefault(entry => !FolderLock.Owns(entry)) is { } entry)
            throw UserException.NamingSettings($"{folder}: the folder already holds {Path.GetFileName(entry)}; choose another {nameof(folder):setting}");
    }

    /// <summary>Resumes a run from its newest checkpoint, or from the start if there is none.</summary>
    /// <param name="folder">The run folder.</param>
    /// <param name="device">Opens the device of the settings.</param>
    /// <param name="change">Changes the run's settings, such as the number of steps. The run keeps the changed settings, and a history of the changes.</param>
    /// <param name="allowsOtherData">Resumes even if the tokens differ from those that the run began with, and records that in the history.</param>
    /// <exception cref="UserException">There is no run, it is in use by another process, its newest checkpoint is damaged, or its data changed.</exception>
    public static TrainingRun Resume(string folder, Func<TrainingSettings, Device> device, Func<TrainingSettings, TrainingSettings>? change = null, bool allowsOtherData = false) =>
        Resume(folder, device, null, change, allowsOtherData);

    /// <summary>
    /// As <see cref="Resume(string, Func{TrainingSettings, Device}, Func{TrainingSettings, TrainingSettings}?, bool)"/>, together with the other ranks of a
    /// communicator, which may be more or fewer than before.
    /// </summary>
    /// <param name="folder">The run folder, which all ranks see.</param>
    /// <param name="device">Opens the device of the settings.</param>
    /// <param name="communicator">The ranks; null: this process alone.</param>
    /// <param name="change">As for the other overload, the same on every rank.</param>
    /// <param name="allowsOtherData">As for the other overload.</param>
    /// <exception cref="UserException">As for the other overload, or the ranks cannot share the settings' shards.</exception>
    public static TrainingRun Resume(string folder, Func<TrainingSettings, Device> device, Communicator? communicator, Func<TrainingSettings, TrainingSettings>? change, bool allowsOtherData)
    {
        bool writes = Writes(communicator);
        string path = Path.Combine(folder, SettingsFile);
        if (!File.Exists(path))
            throw new UserException($"{folder}: there is no run to resume ({SettingsFile} is missing)");
        FolderLock? held = null;
        TrainingRun? run = null;
        try
        {
            if (writes)
            {
                held = FolderLock.Take(folder);
                AtomicFolder.RemoveLeftovers(folder);
                AtomicFolder.RemoveLeftovers(Path.Combine(folder, CheckpointFolder));
            }

            communicator?.Barrier();
            TrainingSettings before = TrainingSettings.LoadRun(path), settings = change?.Invoke(before) ?? before;
            if (settings.From != before.From || settings.Tokenizer != before.Tokenizer)
                throw UserException.NamingSettings($"{folder}: a run keeps the weights and the tokenizer that it began with; leave out {(settings.From != before.From ? nameof(settings.From) : nameof(settings.Tokenizer)):setting}, or begin a new run");
            RunRecord record = RunRecord.Load(path);
            run = Open(folder, settings, device(settings), () => held, communicator);
            (long Step, string Path)[] checkpoints = [.. Checkpoints(folder)];
            run.FindReferences(begins: checkpoints.Length == 0);
            if (checkpoints.Length > 0)
            {
                Checkpoint checkpoint = Checkpoint.Open(checkpoints[^1].Path, verifies: writes);
                checkpoint.Restore(checkpoints[^1].Path, run.Trainer);
                if (settings.Steps < run.Trainer.StepNumber)
                    throw UserException.NamingSettings($"{nameof(settings.Steps):setting} {settings.Steps}: the run {folder} is at step {run.Trainer.StepNumber} already; give at least that many");
                run.validation = checkpoint.ValidationLoss;
            }

            // Every rank has read the settings before they are written.
            communicator?.Barrier();
            run.Continue(record, before, allowsOtherData);
            if (writes)
                MetricsWriter.Trim(folder, run.Trainer.StepNumber);
            return run;
        }
        catch (Exception e)
        {
            run?.Dispose();
            if (run is null)
                held?.Dispose();
            if (e is IOException or UnauthorizedAccessException)
                throw new UserException($"{folder}: the run cannot be read or written: {e.Message}", e);
            throw;
        }
    }

    /// <summary>Records what changed since the run was last open.</summary>
    /// <exception cref="UserException">The data changed, and <paramref name="allowsOtherData"/> is false.</exception>
    private void Continue(RunRecord saved, TrainingSettings before, bool allowsOtherData)
    {
        DataFingerprint data = record.Data!;
        if (saved.Data is { } began && !began.IsSame(data) && !allowsOtherData)
            throw UserException.NamingSettings($"{Folder}: the data changed since the run began ({began.Difference(data)}), so the losses would differ from those of an uninterrupted run; give the old data, or continue with {nameof(allowsOtherData):setting}");
        record = saved.Resumed(Trainer.StepNumber, before, Settings, data);
        if (record.History.Count > saved.History.Count)
            Notes = [.. Notes, $"settings changed at step {Trainer.StepNumber}: {string.Join("; ", record.History[^1].Changes)}"];
        if (Writes(Trainer.Communicator) && (record.History.Count > saved.History.Count || saved.Data is null))
            AtomicFolder.WriteText(Path.Combine(Folder, SettingsFile), record.ToJson(Settings));
    }

    /// <summary>
    /// Trains to the last step, with validations and checkpoints. On cancellation of <paramref name="stop"/> the current state is saved first.
    /// </summary>
    /// <returns>True if the run is finished.</returns>
    /// <exception cref="SpikeException">A step spiked, and the settings stop the run; the state before it is saved.</exception>
    /// <exception cref="DivergedException">The loss is no longer finite; the last checkpoint is kept.</exception>
    /// <exception cref="UserException">The device was lost or is out of memory; the last checkpoint is kept. Or a file cannot be written; the current state is saved first if possible.</exception>
    /// <exception cref="IOException">A callback could not write; the current state is saved first.</exception>
    public bool Train(CancellationToken stop)
    {
        try
        {
            failure = null;
            try
            {
                using (recorder = Writes(Trainer.Communicator) ? new RunRecorder(Folder, Trainer) : null)
                    return Loop(stop);
            }
            finally
            {
                recorder = null;
            }
        }
        catch (Exception e) when (Devices.Explain(e) is { } reason)
        {
            long saved = Checkpoints(Folder).LastOrDefault().Step;
            string state = saved > 0 ? $"The run is intact up to its checkpoint of step {saved}" : "The run has no checkpoint yet and starts from the beginning";
            throw UserException.NamingSettings($"{Trainer.Device.Name}: {reason.TrimEnd('.')}. {state}: continue with {ResumePath:setting} {Folder}, or with {ResumePath:setting} {Folder} {nameof(Settings.Device):setting} cpu", e);
        }
    }

    private bool Loop(CancellationToken stop)
    {
        Trainer.Stop = stop;
        Report(() => recorder?.Began(Plan.Total));
        Trainer.Measured = result => Report(() =>
        {
            recorder?.Stepped(result);
            Stepped?.Invoke(result);
        });
        if (Trainer.StepNumber == 0)
            Validate();
        bool ends = OnAnyRank(failure is not null);
        Trainer.Agreeing = () => ends = OnAnyRank(failure is not null || stop.IsCancellationRequested);
        while (Trainer.StepNumber < Settings.Steps && !ends)
        {
            try
            {
                TrainingEvents.Log.StepStart(Trainer.StepNumber + 1);
                Trainer.Step();
                TrainingEvents.Log.StepStop(Trainer.StepNumber);
            }
            catch (OperationCanceledException)
            {
                SaveNew();
                break;
            }

            catch (SpikeException e)
            {
                throw Stopped(e);
            }

            bool last = Trainer.StepNumber == Settings.Steps;
            if (last || Trainer.StepNumber % Settings.EvalInterval == 0)
                Validate();
            if (Settings.SampleInterval > 0 && Trainer.StepNumber % Settings.SampleInterval == 0 && !last)
                Sample();
            if (Trainer.Communicator is null or { Size: 1 })
                Trainer.Agreeing();
            if (last || ends || (Settings.CheckpointInterval > 0 && Trainer.StepNumber % Settings.CheckpointInterval == 0))
            {
                Save();
                ends = OnAnyRank(ends || failure is not null);
            }
        }

        failure?.Throw();
        return Trainer.StepNumber >= Settings.Steps;
    }

    /// <summary>True if the condition holds on one of the ranks: they stop together.</summary>
    private bool OnAnyRank(bool condition) => Trainer.Communicator?.Any(condition) ?? condition;

    /// <summary>
    /// Runs an action that records or displays a result. If it fails, the loop saves and ends after the current step; with other ranks after the next one at the latest, since ranks
    /// agree on the end within a step, before its result is known.
    /// </summary>
    private void Report(Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or UserException and not DivergedException)
        {
            failure ??= ExceptionDispatchInfo.Capture(e);
        }
    }

    private static TrainingRun Open(string folder, TrainingSettings settings, Device device, Func<FolderLock?> takeLock, Communicator? communicator)
    {
        settings = settings.Filled();
        settings.Check();
        string? checkpoint = Checkpoints(folder).LastOrDefault().Path;
        using ModelSource? from = checkpoint is null && settings.From is not null ? ModelSource.Open(settings.From) : null;
        Dataset data = LoadData(settings, checkpoint ?? settings.From);
        ModelConfig config = TrainedModel.Configuration(settings, data, checkpoint);
        MemoryPlan plan = MemoryPlan.Of(config, settings, device, communicator?.Rank ?? 0, communicator?.Size ?? 1);
        plan.CheckAgainst(device, communicator?.LocalSize ?? 1);
        LanguageModel model = TrainedModel.Create(config, settings, device, checkpoint is null);
        var trainer = new Trainer(device, model, data, settings, communicator);
        FolderLock? held = null;
        try
        {
            if (settings.SampleInterval > 0 && ReasonForNoSample(model, data) is { } reason)
                throw UserException.NamingSettings($"{nameof(settings.SampleInterval):setting} {settings.SampleInterval}: {reason}; leave it out");
            held = takeLock();
            return new TrainingRun(folder, settings, trainer, data, plan, held);
        }
        catch
        {
            held?.Dispose();
            trainer.Dispose();
            model.Dispose();
            data.Dispose();
            throw;
        }
    }

    private void Validate()
    {
        if (Settings.EvalBatches == 0)
            return;
        Trainer.Settle();
        TrainingEvents.Log.ValidationStart(Trainer.StepNumber);
        double training = Trainer.Validate(Settings.EvalBatches, onTraining: true);
        (double validating, Preferences) = Trainer.Measure(Settings.EvalBatches, onTraining: false);
        TrainingEvents.Log.ValidationStop(Trainer.StepNumber);
        validation = validating;
        Report(() =>
        {
            recorder?.Validated(training, validating, Preferences);
            Validated?.Invoke(Trainer.StepNumber, training, validating);
        });
        recorder?.Restart();
    }

    /// <summary>Frees the model, the optimizer and the data, and releases the lock of the folder.</summary>
    public void Dispose()
    {
        Trainer.Dispose();
        Trainer.Model.Dispose();
        Data.Dispose();
        folderLock?.Dispose();
    }
}
