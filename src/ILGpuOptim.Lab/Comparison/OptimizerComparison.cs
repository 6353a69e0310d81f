using System.Globalization;
using System.Text.Json.Nodes;
using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Lab;

/// <summary>
/// Trains one model with several optimizers from the same initial parameters on the same batches. Its folder holds
/// <c>comparison.json</c> and a run folder for each run. All state is on disk, so a stopped comparison can be continued.
/// </summary>
public sealed class OptimizerComparison : IDisposable
{
    /// <summary>The file of the settings.</summary>
    public const string SettingsFile = "comparison.json";

    private const string RunFolder = "runs";

    private readonly FolderLock folderLock;
    private readonly bool isNew;
    private bool hasFailed;

    private OptimizerComparison(string folder, ComparisonSettings settings, FolderLock folderLock, bool isNew)
    {
        this.isNew = isNew;
        Folder = folder;
        Settings = settings;
        this.folderLock = folderLock;
        Candidates = [.. settings.Candidates.Select(candidate => new ComparedCandidate(candidate,
            [.. candidate.Rates.Select(rate => Run(candidate, rate, settings.Training.Seed))]))];
        foreach (ComparedCandidate candidate in Candidates)
            Judge(candidate);
    }

    /// <summary>A candidate with its runs.</summary>
    /// <param name="Candidate">The optimizer and its learning rates.</param>
    /// <param name="Grid">A run for each learning rate, with the first seed.</param>
    public sealed record ComparedCandidate(Candidate Candidate, IReadOnlyList<ComparedRun> Grid)
    {
        /// <summary>The run of the best learning rate; null if all diverged or some are unfinished.</summary>
        public ComparedRun? Best { get; internal set; }

        /// <summary>Runs of the best learning rate with other seeds.</summary>
        public IReadOnlyList<ComparedRun> Repeats { get; internal set; } = [];

        /// <summary>All runs.</summary>
        public IEnumerable<ComparedRun> Runs => Grid.Concat(Repeats);
    }

    /// <summary>The folder of the comparison.</summary>
    public string Folder { get; }

    /// <summary>The settings of the comparison.</summary>
    public ComparisonSettings Settings { get; }

    /// <summary>The candidates with their runs.</summary>
    public IReadOnlyList<ComparedCandidate> Candidates { get; }

    /// <summary>Called before a run trains until a step.</summary>
    public Action<ComparedCandidate, ComparedRun, TrainingRun, long>? Begun { get; set; }

    /// <summary>Called when a run has reached its rung or its end, or has diverged.</summary>
    public Action<ComparedCandidate, ComparedRun>? Advanced { get; set; }

    /// <summary>Called when a learning rate is pruned.</summary>
    public Action<ComparedCandidate, ComparedRun>? Pruned { get; set; }

    /// <summary>Starts a comparison, or continues the one in the folder if its settings are equal.</summary>
    /// <exception cref="UserException">The folder holds something else, cannot be written or is in use, or the settings are invalid.</exception>
    public static OptimizerComparison Open(string folder, ComparisonSettings settings)
    {
        settings.Check();
        string path = Path.Combine(folder, SettingsFile);
        FolderLock? folderLock = null;
        try
        {
            CheckFolder(folder, settings);
            Directory.CreateDirectory(folder);
            folderLock = FolderLock.Take(folder);
            CheckFolder(folder, settings);
            bool isNew = !File.Exists(path);
            if (isNew)
                AtomicFolder.WriteText(path, settings.ToJson());
            return new OptimizerComparison(folder, settings, folderLock, isNew);
        }
        catch (Exception e)
        {
            folderLock?.Dispose();
            if (e is IOException or UnauthorizedAccessException or System.Text.Json.JsonException)
                throw UserException.NamingSettings($"{folder}: the comparison cannot be written or read: {e.Message}; choose another {nameof(folder):setting}", e);
            throw;
        }
    }

    private static void CheckFolder(string folder, ComparisonSettings settings)
    {
        string path = Path.Combine(folder, SettingsFile);
        if (File.Exists(path))
        {
            string earlier = SourceFile.ReadAllText(path, JsonFields.MaxFileBytes, "it holds no settings"), wanted = settings.ToJson();
            string there = Labels(earlier), here = Labels(wanted);
            if (there != here)
                throw UserException.NamingSettings($"{folder}: it holds another comparison (optimizers: {there} there, {here} here); choose another {nameof(folder):setting}, or continue that one with its own settings");

            // Earlier versions had fewer settings: sampling was random, spans did not exist, and new flags were off.
            if (SettingsDifferences.Of(earlier, wanted)
                .Where(item => item is not ({ Path: "training.sampling", Left: "null", Right: "\"random\"" } or { Path: "training.mean_span", Left: "null" } or { Left: "null", Right: "false" }))
                .Select(item => $"{item.Path}: {item.Left} there, {item.Right} here").FirstOrDefault() is { } difference)
                throw UserException.NamingSettings($"{folder}: it holds another comparison ({difference}); choose another {nameof(folder):setting}, or continue that one with its own settings");
        }
        else if (Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder).Any(entry => !FolderLock.Owns(entry)))
        {
            throw UserException.NamingSettings($"{folder}: the folder is not empty and holds no comparison; choose another {nameof(folder):setting}");
        }
    }

    /// <summary>The labels of the optimizers that settings compare.</summary>
    private static string Labels(string json) =>
        string.Join(", ", ((JsonNode.Parse(json) as JsonObject)?["candidates"] as JsonArray ?? []).Select(candidate => (candidate as JsonObject)?["label"]?.ToString()));

    /// <summary>Runs the remaining runs. Returns false if <paramref name="stop"/> was requested first.</summary>
    /// <exception cref="UserException">A run cannot begin, or a checkpoint is damaged or cannot be written.</exception>
    public bool Run(Device device, CancellationToken stop)
    {
        try
        {
            return RunAll(device, stop);
        }
        catch
        {
            hasFailed = true;
            throw;
        }
    }

    private bool RunAll(Device device, CancellationToken stop)
    {
        foreach (ComparedCandidate candidate in Candidates)
        {
            bool Advance(ComparedRun run, long target)
            {
                bool moves = run.Step < target && run.Status == RunStatus.Unfinished;
                bool reached = run.Advance(target, device, Settings.Training.Threads, training => Begun?.Invoke(candidate, run, training, target), stop);
                if (moves && reached)
                    Advanced?.Invoke(candidate, run);
                return reached;
            }

            // Rung by rung, so that pruned runs do not continue.
            foreach (int target in Targets(candidate))
            {
                foreach (ComparedRun run in candidate.Grid.Where(run => run.Status == RunStatus.Unfinished))
                {
                    if (!Advance(run, target))
                        return false;
                }

                foreach (ComparedRun run in Judge(candidate))
                    Pruned?.Invoke(candidate, run);
            }

            foreach (ComparedRun run in candidate.Repeats)
            {
                if (!Advance(run, run.Steps))
                    return false;
            }
        }

        return true;
    }

    private IEnumerable<int> Targets(ComparedCandidate candidate) => [.. Rungs(candidate), Settings.Training.Steps];

    private IReadOnlyList<int> Rungs(ComparedCandidate candidate) =>
        Settings.Prunes && candidate.Grid.Count > 1 ? Pruning.Rungs(Settings.Training.Steps, Settings.Training.EvalInterval) : [];

    /// <summary>Applies the rule to every rung that all remaining runs have reached; returns the newly pruned runs.</summary>
    private List<ComparedRun> Judge(ComparedCandidate candidate)
    {
        var given = new List<ComparedRun>();
        List<ComparedRun> alive = [.. candidate.Grid];
        foreach (int rung in Rungs(candidate))
        {
            if (alive.Any(run => run.Step < rung && run.Status == RunStatus.Unfinished))
                return given;
            IReadOnlyList<bool> stays = Pruning.Survivors([.. alive.Select(run => run.LossAt(rung))]);
            List<ComparedRun> next = [];
            for (int i = 0; i < alive.Count; i++)
            {
                if (stays[i])
                {
                    next.Add(alive[i]);
                }
                else if (alive[i].Status == RunStatus.Unfinished)
                {
                    alive[i].Prune();
                    given.Add(alive[i]);
                }
            }

            alive = next;
        }

        if (candidate.Best is null && candidate.Grid.All(run => run.Status != RunStatus.Unfinished))
        {
            int best = Pruning.Best([.. candidate.Grid.Select(run => run.Status == RunStatus.Finished ? run.ValidationLoss : double.PositiveInfinity)]);
            if (best >= 0)
            {
                candidate.Best = candidate.Grid[best];
                candidate.Repeats = [.. Enumerable.Range(1, Settings.Seeds - 1).Select(i => Run(candidate.Candidate, candidate.Best.Rate, Settings.Training.Seed + (ulong)i))];
            }
        }

        return given;
    }

    private ComparedRun Run(Candidate candidate, double rate, ulong seed)
    {
        string name = string.Create(CultureInfo.InvariantCulture, $"{candidate.FileName}-lr{rate:R}-seed{seed}");
        return new ComparedRun(Path.Combine(Folder, RunFolder, name), Settings.Of(candidate, rate, seed));
    }

    /// <summary>Releases the folder's lock. A new comparison whose first run could not start is removed.</summary>
    public void Dispose()
    {
        if (isNew && hasFailed && !Directory.Exists(Path.Combine(Folder, RunFolder)))
        {
            File.Delete(Path.Combine(Folder, SettingsFile));
            string[] left = Directory.GetFileSystemEntries(Folder);
            if (left.All(FolderLock.Owns))
            {
                foreach (string path in left)
                    File.Delete(path);
                Directory.Delete(Folder);
            }
        }

        folderLock.Dispose();
    }
}
