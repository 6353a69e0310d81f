using System.Globalization;
using System.Text.Json;
using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Training;

namespace ILGpuOptim.Lab;

/// <summary>The status of a run.</summary>
public enum RunStatus
{
    /// <summary>Not started, or not finished.</summary>
    Unfinished,

    /// <summary>Its learning rate was pruned.</summary>
    Pruned,

    /// <summary>True if the run reached its last step.</summary>
    Finished,

    /// <summary>Its loss became NaN or infinite, or ended above the initial loss.</summary>
    Diverged,
}

/// <summary>
/// One run of a comparison: a run folder as <c>train</c> makes it, with the time of each step (<c>times.jsonl</c>), what
/// the run needs (<c>facts.json</c>) and, when the loss became NaN or infinite, why (<c>diverged.txt</c>).
/// </summary>
public sealed class ComparedRun
{
    private const string TimesFile = "times.jsonl", FactsFile = "facts.json", DivergedFile = "diverged.txt";

    private readonly TrainingSettings settings;
    private bool isPruned;
    private string? divergence;

    internal ComparedRun(string folder, TrainingSettings settings)
    {
        Folder = folder;
        this.settings = settings;
        Read();
    }

    /// <summary>Facts about a run and its device.</summary>
    /// <param name="Model">A short description of the model.</param>
    /// <param name="Parameters">Number of trained parameters.</param>
    /// <param name="StateBytes">Bytes of optimizer state.</param>
    /// <param name="TokensPerStep">Number of tokens per update.</param>
    /// <param name="Device">The device and its threads.</param>
    public sealed record RunFacts(string Model, long Parameters, long StateBytes, long TokensPerStep, string Device);

    /// <summary>The run folder.</summary>
    public string Folder { get; }

    /// <summary>The learning rate at its peak.</summary>
    public double Rate => settings.Optimizer.Rate;

    /// <summary>The seed.</summary>
    public ulong Seed => settings.Seed;

    /// <summary>The step of the newest checkpoint.</summary>
    public long Step { get; private set; }

    /// <summary>Number of updates of the whole run.</summary>
    public int Steps => settings.Steps;

    /// <summary>Its losses.</summary>
    public RunMetrics Metrics { get; private set; } = new([], []);

    /// <summary>The milliseconds of each step, and of the optimizer's update in it.</summary>
    public IReadOnlyList<(long Step, double Milliseconds, double Update)> Times { get; private set; } = [];

    /// <summary>Facts about the run; null before it started.</summary>
    public RunFacts? Facts { get; private set; }

    /// <summary>Why the run is counted as diverged, or null.</summary>
    public string? Divergence =>
        divergence ?? (Step >= Steps && !(LossAt(Steps) <= LossAt(0)) ? $"the validation loss ended at {LossAt(Steps):F4} and began at {LossAt(0):F4}" : null);

    /// <summary>The status.</summary>
    public RunStatus Status =>
        Divergence is not null ? RunStatus.Diverged : Step >= Steps ? RunStatus.Finished : isPruned ? RunStatus.Pruned : RunStatus.Unfinished;

    /// <summary>The last validation loss; infinite before the first and for a run that diverged.</summary>
    public double ValidationLoss => Divergence is not null ? double.PositiveInfinity : LossAt(Step);

    /// <summary>The validation loss after a step; infinite where there is none or the run diverged.</summary>
    internal double LossAt(long step) =>
        (divergence is null ? Metrics.Validations.LastOrDefault(item => item.Step == step).Validation : null) ?? double.PositiveInfinity;

    internal void Prune() => isPruned = true;

    /// <summary>Trains until a step, from the newest checkpoint if there is one. Returns false if <paramref name="stop"/> was requested first.</summary>
    /// <param name="target">The step.</param>
    /// <param name="device">The device.</param>
    /// <param name="threads">The number of threads, which may differ from that of earlier calls.</param>
    /// <param name="begun">Called with the run before it continues.</param>
    /// <param name="stop">Saves and stops.</param>
    internal bool Advance(long target, Device device, int threads, Action<TrainingRun> begun, CancellationToken stop)
    {
        if (divergence is not null || Step >= target)
            return true;
        if (stop.IsCancellationRequested)
            return false;
        using TrainingRun run = File.Exists(Path.Combine(Folder, TrainingRun.SettingsFile))
            ? TrainingRun.Resume(Folder, _ => device, saved => saved with { Threads = threads })
            : TrainingRun.Begin(Folder, settings with { Threads = threads }, device);
        Facts = new RunFacts(run.Trainer.Model.Config.Summary, run.Trainer.Optimizer.States.Sum(state => state.Parameter.Length), run.Trainer.Optimizer.StateBytes, run.Trainer.TokensPerStep, device.Description);
        AtomicFolder.WriteText(Path.Combine(Folder, FactsFile), JsonSerializer.Serialize(Facts));
        AtomicFolder.WriteText(Path.Combine(Folder, TimesFile), string.Concat(ReadTimes().Where(time => time.Step <= run.Trainer.StepNumber).Select(Line)));
        begun(run);
        var pending = new List<(long, double, double)>();
        using var rung = CancellationTokenSource.CreateLinkedTokenSource(stop);
        Action<StepResult>? watch = run.Stepped;
        run.Stepped = result =>
        {
            pending.Add((result.Step, result.Duration.TotalMilliseconds, result.UpdateDuration.TotalMilliseconds));
            if (result.Step >= target)
                rung.Cancel();
            watch?.Invoke(result);
        };
        run.Saved = _ =>
        {
            File.AppendAllText(Path.Combine(Folder, TimesFile), string.Concat(pending.Select(Line)));
            pending.Clear();
        };
        run.Trainer.TimesUpdates = true;
        try
        {
            run.Train(rung.Token);
        }
        catch (UserException e) when (e is DivergedException or SpikeException)
        {
            AtomicFolder.WriteText(Path.Combine(Folder, DivergedFile), e.Message);
        }

        bool reached = run.Trainer.StepNumber >= target;
        Read();
        return reached || divergence is not null;
    }

    private void Read()
    {
        Metrics = RunMetrics.Read(Folder);
        Times = [.. ReadTimes()];
        Step = TrainingRun.Checkpoints(Folder).LastOrDefault().Step;
        string diverged = Path.Combine(Folder, DivergedFile), facts = Path.Combine(Folder, FactsFile);
        divergence = SourceFile.HasContents(diverged) ? File.ReadAllText(diverged) : null;
        Facts = SourceFile.HasContents(facts) ? JsonSerializer.Deserialize<RunFacts>(File.ReadAllText(facts)) : null;
    }

    private static string Line((long Step, double Milliseconds, double Update) time) =>
        string.Create(CultureInfo.InvariantCulture, $"[{time.Step},{time.Milliseconds:F3},{time.Update:F3}]\n");

    private IEnumerable<(long Step, double Milliseconds, double Update)> ReadTimes()
    {
        string path = Path.Combine(Folder, TimesFile);
        foreach (string line in SourceFile.HasContents(path) ? File.ReadAllLines(path) : [])
        {
            double[]? time = null;
            try
            {
                time = JsonSerializer.Deserialize<double[]>(line);
            }
            catch (JsonException)
            {
                // A damaged or incomplete line is skipped.
            }

            if (time is [double step, double milliseconds, double update])
                yield return ((long)step, milliseconds, update);
        }
    }
}
