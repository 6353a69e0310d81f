using System.Globalization;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Files;
using ILGpuOptim.Models;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Lab;

/// <summary>
/// Runs a protocol. Its folder holds <c>protocol.json</c> and a run folder for each run. Finished runs are not repeated, and a stopped one continues from
/// its newest checkpoint.
/// </summary>
internal sealed class ProtocolComparison : IDisposable
{
    /// <summary>The file of the protocol.</summary>
    public const string ProtocolFile = "protocol.json";

    private readonly FolderLock folderLock;
    private readonly Dictionary<string, ProtocolRun> runs = [];
    private readonly List<ProtocolResult> results = [];

    private ProtocolComparison(string folder, ComparisonProtocol protocol, FolderLock folderLock) => (Folder, Protocol, this.folderLock) = (folder, protocol, folderLock);

    /// <summary>The folder.</summary>
    public string Folder { get; }

    /// <summary>The protocol.</summary>
    public ComparisonProtocol Protocol { get; }

    /// <summary>The results of each study and batch size so far.</summary>
    internal IReadOnlyList<ProtocolResult> Results => results;

    /// <summary>Called before a run trains, with a description of it.</summary>
    public Action<string, TrainingRun>? Begun { get; set; }

    /// <summary>Called when a run has ended, with a description of it and its validation loss.</summary>
    public Action<string, double>? Ended { get; set; }

    /// <summary>Begins a protocol, or continues the one in the folder if it is the same.</summary>
    /// <exception cref="UserException">The folder holds something else, cannot be written or is in use.</exception>
    public static ProtocolComparison Open(string folder, ComparisonProtocol protocol)
    {
        string path = Path.Combine(folder, ProtocolFile);
        FolderLock? folderLock = null;
        try
        {
            if (!File.Exists(path) && Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder).Any(entry => !FolderLock.Owns(entry)))
                throw UserException.NamingSettings($"{folder}: the folder is not empty and holds no protocol; choose another {nameof(folder):setting}");
            Directory.CreateDirectory(folder);
            folderLock = FolderLock.Take(folder);
            if (!File.Exists(path))
                AtomicFolder.WriteText(path, protocol.ToJson());
            foreach ((string field, string there, string here) in SettingsDifferences.Of(SourceFile.ReadAllText(path, JsonFields.MaxFileBytes, "it is no protocol"), protocol.ToJson()))
                throw UserException.NamingSettings($"{folder}: it holds another protocol ({field}: {there} there, {here} here); choose another {nameof(folder):setting}, or continue with {path}");
            return new ProtocolComparison(folder, protocol, folderLock);
        }
        catch (Exception e)
        {
            folderLock?.Dispose();
            if (e is IOException or UnauthorizedAccessException or ArgumentException or System.Text.Json.JsonException)
                throw UserException.NamingSettings($"{folder}: the protocol cannot be written or read: {e.Message}; choose another {nameof(folder):setting}", e);
            throw;
        }
    }

    /// <summary>Runs what remains. Returns false if <paramref name="stop"/> was requested first; results then hold what is finished.</summary>
    /// <param name="device">The device.</param>
    /// <param name="threads">The number of threads, which changes no result.</param>
    /// <param name="stop">Saves and stops.</param>
    /// <exception cref="UserException">A run cannot begin, or a checkpoint is damaged or cannot be written.</exception>
    public bool Run(Device device, int threads, CancellationToken stop)
    {
        results.Clear();
        try
        {
            foreach (ProtocolStudy study in Protocol.Studies)
            {
                foreach (int batch in study.Batches)
                    RunStudy(study, batch, new Runner(this, study, batch, device, threads, stop));
            }

            return true;
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            return false;
        }
    }

    /// <summary>Checks a study against its data, before anything is written.</summary>
    /// <exception cref="UserException">
    /// The data cannot be read, the model cannot have the sizes stated or does not predict masked tokens although their accuracy is asked for, or a run would
    /// see tokens twice although the study does not state so.
    /// </exception>
    internal static void Check(ProtocolStudy study)
    {
        using Dataset data = TrainingRun.LoadData(study.Training);
        ModelConfig config = TrainedModel.Configuration(study.Training, data);
        if (study.Accuracy && !config.PredictsMaskedTokens)
            throw new UserException($"study {study.Name}: {config.Family} predicts no masked tokens, so it has no accuracy; leave \"accuracy\" out");
        double needed = study.Tokens * study.Multiples.Append(1).Max();
        if (!study.Repeats && data.Training.Length < needed)
            throw new UserException($"study {study.Name}: {data.Source} has {data.Training.Length:N0} tokens to train on, and the longest run needs {needed:N0}; give more text, or state \"repeats\": true");
    }

    private void RunStudy(ProtocolStudy study, int batch, Runner runner)
    {
        var result = new ProtocolResult(study, batch);
        results.Add(result);
        IReadOnlyList<CoordinateSearch.Searched> baseline = [];
        foreach (ProtocolOptimizer optimizer in study.Optimizers)
        {
            Dictionary<string, double> taken = baseline.Where(item => optimizer.Takes.Contains(item.Axis.Name)).ToDictionary(item => item.Axis.Name, item => item.Best);
            bool isBaseline = result.Optimizers.Count == 0;
            Dictionary<string, double> At(IEnumerable<double> point) => optimizer.Search.Zip(point, (axis, value) => (axis.Name, value)).Concat(taken.Select(item => (item.Key, item.Value))).ToDictionary();
            (IReadOnlyList<CoordinateSearch.Searched> searched, bool isSettled) = CoordinateSearch.Find(optimizer.Search, isBaseline ? study.Passes : 1, point => runner.Run(optimizer, At(point), 1, study.TuningSeed).Loss);
            Dictionary<string, double> best = At(searched.Select(item => item.Best));
            if (isBaseline)
                baseline = searched;
            var row = new ProtocolResult.OptimizerResult(optimizer, searched, isSettled, taken);
            result.Optimizers.Add(row);
            foreach (double multiple in isBaseline ? study.Multiples.Prepend(1) : [1])
            {
                List<ProtocolRun> repeats = row.Runs[multiple] = [];
                foreach (ulong seed in study.Seeds)
                    repeats.Add(runner.Run(optimizer, best, multiple, seed));
            }
        }
    }

    /// <summary>The runs of a study at one batch size.</summary>
    private sealed class Runner(ProtocolComparison comparison, ProtocolStudy study, int batch, Device device, int threads, CancellationToken stop)
    {
        /// <summary>Trains a run to its end, unless it has ended already.</summary>
        /// <exception cref="OperationCanceledException">It was stopped first; its state is saved.</exception>
        public ProtocolRun Run(ProtocolOptimizer optimizer, IReadOnlyDictionary<string, double> values, double multiple, ulong seed)
        {
            string settings = string.Join(' ', values.Select(item => string.Create(CultureInfo.InvariantCulture, $"{item.Key} {item.Value}")));
            string name = string.Create(CultureInfo.InvariantCulture, $"{study.Name} {batch} {optimizer.Candidate.FileName} {settings} x{multiple} seed {seed}");
            string folder = Path.Combine(comparison.Folder, "runs", name.Replace(' ', '-'));
            if (!comparison.runs.TryGetValue(folder, out ProtocolRun? run))
                comparison.runs[folder] = run = new ProtocolRun(new ComparedRun(folder, study.Of(optimizer, values, batch, multiple, seed)));
            if (run.Run.Status != RunStatus.Unfinished)
                return run;
            bool reached = run.Run.Advance(run.Run.Steps, device, threads, training =>
            {
                if (study.Accuracy)
                    run.MeasureAccuracy(training, device);
                comparison.Begun?.Invoke(name, training);
            }, stop);
            if (!reached)
                throw new OperationCanceledException(stop);
            comparison.Ended?.Invoke(name, run.Loss);
            return run;
        }
    }

    /// <summary>Releases the folder's lock.</summary>
    public void Dispose() => folderLock.Dispose();
}
