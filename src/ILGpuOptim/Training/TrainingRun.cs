using System.Globalization;
using System.Runtime.ExceptionServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Training;

/// <summary>
/// A run folder: <c>settings.json</c>, <c>metrics.jsonl</c> (a line a step and a line a validation) and
/// <c>checkpoints/step-…</c>. The loop that fills it, and that goes on where it stopped.
/// </summary>
public sealed class TrainingRun : IDisposable
{
    /// <summary>The file of the settings.</summary>
    public const string SettingsFile = "settings.json";

    /// <summary>The file of the losses.</summary>
    public const string MetricsFile = "metrics.jsonl";

    private const string CheckpointFolder = "checkpoints";

    private readonly ITokenizer? tokenizer;
    private readonly FolderLock folderLock;
    private RunRecord record;
    private MetricsWriter? metrics;
    private ExceptionDispatchInfo? failure;
    private double? validation;

    private TrainingRun(string folder, TrainingSettings settings, Trainer trainer, Dataset data, MemoryPlan plan, FolderLock folderLock)
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

    /// <summary>Where everything is written.</summary>
    public string Folder { get; }

    /// <summary>The settings.</summary>
    public TrainingSettings Settings { get; }

    /// <summary>The model, its optimizer and their state.</summary>
    public Trainer Trainer { get; }

    /// <summary>The tokens.</summary>
    public Dataset Data { get; }

    /// <summary>The memory that was predicted before anything was allocated.</summary>
    public MemoryPlan Plan { get; }

    /// <summary>What to tell the user before training: settings that were cut to what is possible, and those that changed since the run began.</summary>
    public IReadOnlyList<string> Notes { get; private set; }

    /// <summary>Called with each update in its order; on a GPU when the next one has been launched.</summary>
    public Action<StepResult>? Stepped { get; set; }

    /// <summary>Called after each validation with the step, the loss on training batches and that on validation batches, NaN without text for them.</summary>
    public Action<long, double, double>? Validated { get; set; }

    /// <summary>Called when a checkpoint is on the disk.</summary>
    public Action<string>? Saved { get; set; }

    /// <summary>Begins a run in a new folder.</summary>
    /// <exception cref="UserException">The folder holds something already, cannot be written, or another process works in it, or the settings do not work.</exception>
    public static TrainingRun Begin(string folder, TrainingSettings settings, Device device)
    {
        CheckNew(folder);
        TrainingRun? run = null;
        try
        {
            run = Open(folder, settings, device, () =>
            {
                Directory.CreateDirectory(folder);
                return FolderLock.Take(folder);
            });
            CheckNew(folder);
            AtomicFolder.WriteText(Path.Combine(folder, SettingsFile), run.record.ToJson(settings));
            Directory.CreateDirectory(Path.Combine(folder, CheckpointFolder));
            return run;
        }
        catch (Exception e)
        {
            run?.Dispose();
            if (e is IOException or UnauthorizedAccessException)
                throw new UserException($"{folder}: the run folder cannot be written: {e.Message}; choose another --out", e);
            throw;
        }
    }

    private static void CheckNew(string folder)
    {
        if (File.Exists(Path.Combine(folder, SettingsFile)))
            throw new UserException($"{folder}: there is a run already; go on with --resume {folder}, or choose another --out");
        if (Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder).FirstOrDefault(entry => !FolderLock.Owns(entry)) is { } entry)
            throw new UserException($"{folder}: the folder holds {Path.GetFileName(entry)} already; choose another --out");
    }

    /// <summary>Goes on with a run from its newest checkpoint, or from the start when there is none.</summary>
    /// <param name="folder">The run.</param>
    /// <param name="device">Where it goes on.</param>
    /// <param name="change">What may differ from the run's settings, such as its number of steps. The run keeps the changed settings, and a history of the changes.</param>
    /// <param name="allowsOtherData">Goes on although the tokens are not those that the run began with, and keeps that in the history.</param>
    /// <exception cref="UserException">There is no run, another process works on it, its newest checkpoint is damaged, or its data changed.</exception>
    public static TrainingRun Resume(string folder, Func<TrainingSettings, Device> device, Func<TrainingSettings, TrainingSettings>? change = null, bool allowsOtherData = false)
    {
        string path = Path.Combine(folder, SettingsFile);
        if (!File.Exists(path))
            throw new UserException($"{folder}: there is no run to resume ({SettingsFile} is missing)");
        FolderLock? held = null;
        TrainingRun? run = null;
        try
        {
            held = FolderLock.Take(folder);
            AtomicFolder.RemoveLeftovers(folder);
            AtomicFolder.RemoveLeftovers(Path.Combine(folder, CheckpointFolder));
            TrainingSettings before = TrainingSettings.LoadRun(path), settings = change?.Invoke(before) ?? before;
            if (settings.From != before.From || settings.Tokenizer != before.Tokenizer)
                throw new UserException($"{folder}: a run keeps the weights and the tokenizer that it began with; leave out {(settings.From != before.From ? "--from" : "--tokenizer")}, or begin a new run");
            RunRecord record = RunRecord.Load(path);
            run = Open(folder, settings, device(settings), () => held);
            (long Step, string Path)[] checkpoints = [.. Checkpoints(folder)];
            if (checkpoints.Length > 0)
            {
                Checkpoint checkpoint = Checkpoint.Open(checkpoints[^1].Path);
                checkpoint.Restore(checkpoints[^1].Path, run.Trainer);
                if (settings.Steps < run.Trainer.StepNumber)
                    throw new UserException($"--steps {settings.Steps}: the run {folder} is at step {run.Trainer.StepNumber} already; give at least that many");
                run.validation = checkpoint.ValidationLoss;
            }

            run.Continue(record, before, allowsOtherData);
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

    /// <summary>Keeps what changed since the run was last open.</summary>
    /// <exception cref="UserException">The data changed, and that is not allowed.</exception>
    private void Continue(RunRecord saved, TrainingSettings before, bool allowsOtherData)
    {
        DataFingerprint data = record.Data!;
        if (saved.Data is { } began && !began.IsSame(data) && !allowsOtherData)
            throw new UserException($"{Folder}: the data changed since the run began ({began.Difference(data)}), so that it would not repeat the losses of a run never stopped; give the old data, or go on with --allow-data-change");
        record = saved.Resumed(Trainer.StepNumber, before, Settings, data);
        if (record.History.Count > saved.History.Count)
            Notes = [.. Notes, $"settings changed at step {Trainer.StepNumber}: {string.Join("; ", record.History[^1].Changes)}"];
        if (record.History.Count > saved.History.Count || saved.Data is null)
            AtomicFolder.WriteText(Path.Combine(Folder, SettingsFile), record.ToJson(Settings));
    }

    /// <summary>The folder of a run's newest checkpoint, or the folder itself when it holds a model or adapters of one.</summary>
    /// <exception cref="UserException">It is neither.</exception>
    public static string ModelFolder(string path)
    {
        if (File.Exists(Path.Combine(path, ModelFiles.Config)) || AdapterFiles.Exist(path))
            return path;
        return Checkpoints(path).LastOrDefault().Path ?? throw new UserException(
            File.Exists(path) ? ForeignModel.Explain(path)
            : ModelConfig.Locate(path) is { } config ? ForeignModel.Explain(config)
            : Directory.Exists(path) ? $"{path}: there is neither a model (config.json) nor a run with checkpoints in this folder"
            : $"{path}: no such folder; give a run or a folder with config.json and model.safetensors");
    }

    /// <summary>A run's checkpoints, oldest first.</summary>
    public static IEnumerable<(long Step, string Path)> Checkpoints(string folder)
    {
        string parent = Path.Combine(folder, CheckpointFolder);
        if (!Directory.Exists(parent))
            return [];
        return Directory.EnumerateDirectories(parent, "step-*")
            .Select(path => (Step: long.TryParse(Path.GetFileName(path).AsSpan(5), NumberStyles.None, CultureInfo.InvariantCulture, out long step) ? step : -1, Path: path))
            .Where(item => item.Step >= 0)
            .OrderBy(item => item.Step);
    }

    /// <summary>
    /// Trains to the last step, validating and saving on the way. When <paramref name="stop"/> is asked for, the
    /// present state is saved first.
    /// </summary>
    /// <returns>Whether the run is finished.</returns>
    /// <exception cref="DivergedException">The loss stopped being a number; the last checkpoint stays.</exception>
    /// <exception cref="UserException">The device was lost or has no room any more; the last checkpoint stays. Or a file cannot be written; the present state is saved first where it can be.</exception>
    /// <exception cref="IOException">A callback could not write; the present state is saved first.</exception>
    public bool Train(CancellationToken stop)
    {
        try
        {
            failure = null;
            using (metrics = new MetricsWriter(Folder))
                return Loop(stop);
        }
        catch (Exception e) when (Devices.Explain(e) is { } reason)
        {
            long saved = Checkpoints(Folder).LastOrDefault().Step;
            throw new UserException(
                $"{Trainer.Device.Name}: {reason.TrimEnd('.')}. {(saved > 0 ? $"The run is whole up to its checkpoint of step {saved}" : "The run has no checkpoint yet and starts anew")}: " +
                $"go on with --resume {Folder}, or with --resume {Folder} --device cpu", e);
        }
    }

    private bool Loop(CancellationToken stop)
    {
        Trainer.Stop = stop;
        Trainer.Measured = result => Report(() =>
        {
            metrics!.Append(new { step = result.Step, epoch = result.Epoch, loss = result.Loss, lr = result.LearningRate, grad_norm = result.GradientNorm });
            Stepped?.Invoke(result);
        });
        if (Trainer.StepNumber == 0)
            Validate();
        while (Trainer.StepNumber < Settings.Steps && failure is null)
        {
            try
            {
                Trainer.Step();
            }
            catch (OperationCanceledException)
            {
                if (Trainer.StepNumber > 0 && Checkpoints(Folder).LastOrDefault().Step != Trainer.StepNumber)
                    Save();
                break;
            }

            bool last = Trainer.StepNumber == Settings.Steps;
            if (last || Trainer.StepNumber % Settings.EvalInterval == 0)
                Validate();
            if (last || failure is not null || stop.IsCancellationRequested || (Settings.CheckpointInterval > 0 && Trainer.StepNumber % Settings.CheckpointInterval == 0))
                Save();
            if (stop.IsCancellationRequested && !last)
                break;
        }

        failure?.Throw();
        return Trainer.StepNumber >= Settings.Steps;
    }

    /// <summary>Records or shows something. When that fails, the loop ends after the step that is being made, and saves.</summary>
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

    private static TrainingRun Open(string folder, TrainingSettings settings, Device device, Func<FolderLock> takeLock)
    {
        settings.Check();
        string? checkpoint = Checkpoints(folder).LastOrDefault().Path;
        using ModelSource? from = checkpoint is null && settings.From is not null ? ModelSource.Open(settings.From) : null;
        Dataset data = LoadData(settings, checkpoint ?? settings.From);
        ModelConfig config = TrainedModel.Configuration(settings, data, checkpoint);
        MemoryPlan plan = MemoryPlan.Of(config, settings, device);
        plan.CheckAgainst(device);
        LanguageModel model = TrainedModel.Create(config, settings, device, checkpoint is null);
        var trainer = new Trainer(device, model, data, settings);
        FolderLock? held = null;
        try
        {
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

    /// <summary>The tokens that settings name; a run that goes on keeps its tokenizer.</summary>
    public static Dataset LoadData(TrainingSettings settings, string? checkpoint = null)
    {
        bool begins = checkpoint is null || checkpoint == settings.From;
        if (Dataset.TryOpenTokens(settings.Data, settings.Validation, settings.Documents) is { } tokens)
        {
            if (!begins || settings.Tokenizer == "char")
                return tokens;
            tokens.Dispose();
            throw new UserException($"--tokenizer {settings.Tokenizer}: {string.Join(", ", settings.Data)} holds tokens, which have their ids already; leave --tokenizer out, or give the text");
        }

        string source = settings.Data.Count == 0 ? DefaultCorpus.Name : string.Join(", ", settings.Data);
        IReadOnlyList<int> fileEnds = [];
        string text = settings.Data.Count == 0 ? DefaultCorpus.Text : TextSource.Read(settings.Data, out fileEnds);
        ITokenizer? own = checkpoint is null ? null : Tokenizers.Load(checkpoint);
        if (settings.From is { } from && checkpoint == from && settings.Tokenizer != "char")
            own = TrainedModel.Fitting(Tokenizers.Open(settings.Tokenizer), settings.Tokenizer, from);
        if (settings.From is not null && checkpoint is not null && own is null)
            throw new UserException($"{checkpoint}: there is no tokenizer beside the model, so it cannot read text; name one with --tokenizer, or give token files");
        ITokenizer tokenizer = own ?? (settings.Tokenizer == "char" ? CharTokenizer.From(text) : Tokenizers.Open(settings.Tokenizer));
        return settings.Documents
            ? Dataset.FromDocuments(text, fileEnds.Count == 0 ? [text.Length] : fileEnds, tokenizer, settings.Validation, source)
            : Dataset.FromText(text, tokenizer, settings.Validation, source);
    }

    private void Validate()
    {
        if (Settings.EvalBatches == 0)
            return;
        Trainer.Settle();
        double training = Trainer.Validate(Settings.EvalBatches, onTraining: true), validating = Trainer.Validate(Settings.EvalBatches);
        validation = validating;
        Report(() =>
        {
            metrics!.Append(new { step = Trainer.StepNumber, train_loss = Number(training), val_loss = Number(validating) });
            metrics.Flush();
            Validated?.Invoke(Trainer.StepNumber, training, validating);
        });
    }

    private static double? Number(double value) => double.IsFinite(value) ? value : null;

    private void Save()
    {
        Trainer.Settle();
        Report(metrics!.Flush);
        string path = Path.Combine(Folder, CheckpointFolder, $"step-{Trainer.StepNumber:D7}");
        Checkpoint.Save(path, Trainer, tokenizer, validation);
        Report(() => Saved?.Invoke(path));
        (long Step, string Path)[] all = [.. Checkpoints(Folder)];
        (string? best, double loss) = all.Select(item => (item.Path, Checkpoint.ValidationLossOf(item.Path))).MinBy(item => item.Item2);
        foreach ((_, string old) in all.SkipLast(Settings.Keep))
        {
            // Without a validation there is no best.
            if (old != best || double.IsPositiveInfinity(loss))
                Checkpoint.Remove(old);
        }
    }

    /// <summary>Gives all memory back.</summary>
    public void Dispose()
    {
        Trainer.Dispose();
        Trainer.Model.Dispose();
        Data.Dispose();
        folderLock.Dispose();
    }
}
