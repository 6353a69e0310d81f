using ILGpuOptim.Compute;
using ILGpuOptim.Lab;
using ILGpuOptim.Training;

namespace ILGpuOptim.Cli;

/// <summary>A range of training steps, from 1.</summary>
/// <param name="First">The first.</param>
/// <param name="Last">The last.</param>
internal readonly record struct StepRange(long First, long Last)
{
    /// <summary>The largest number of steps in a trace: a step has hundreds of launches or more.</summary>
    public const int MaxSteps = 1000;

    /// <inheritdoc/>
    public override string ToString() => First == Last ? $"{First}" : $"{First}-{Last}";
}

/// <summary>
/// Traces the kernels of some steps of a run. The file is written as soon as the last of them has been made. Traced steps wait for each launch; other
/// steps do not.
/// </summary>
/// <param name="path">The file.</param>
/// <param name="asked">The steps; null: the third to the fifth that the process makes, since the first two compile and allocate.</param>
internal sealed class StepTrace(string path, StepRange? asked)
{
    private const int Skipped = 2, Default = 3;

    private ProfilingDevice? device;
    private StepRange steps;
    private bool isWritten;

    /// <summary>Wraps the device of the run.</summary>
    /// <param name="settings">The settings of the run.</param>
    /// <param name="open">Opens the device.</param>
    /// <exception cref="UserException">The run does not make the steps, or the file cannot be written.</exception>
    public Device Wrap(TrainingSettings settings, Func<Device> open)
    {
        if (asked is { } range && range.Last > settings.Steps)
            throw new UserException($"--trace-steps {range}: the run ends at step {settings.Steps}");
        string folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        if (!Directory.Exists(folder) || Directory.Exists(path))
            throw new UserException($"--trace {path}: {(Directory.Exists(folder) ? "this is a folder; give a file in it" : $"there is no folder {folder}")}");
        return device = new ProfilingDevice(open()) { Step = () => null };
    }

    /// <summary>Begins to trace a run that was opened on the device of <see cref="Wrap"/>.</summary>
    /// <exception cref="UserException">The run has made the first of the steps.</exception>
    public void Follow(TrainingRun run)
    {
        Trainer trainer = run.Trainer;
        long end = Math.Min(run.Settings.Steps, trainer.StepNumber + Skipped + Default);
        steps = asked ?? new StepRange(Math.Max(trainer.StepNumber + 1, end - Default + 1), end);
        if (asked is not null && steps.First <= trainer.StepNumber)
            throw new UserException($"--trace-steps {steps}: the run has made {trainer.StepNumber} steps; trace later ones");
        device!.Step = () => trainer.IsStepping && trainer.StepNumber + 1 is var step && step >= steps.First && step <= steps.Last ? step : null;
        run.Stepped += result =>
        {
            if (result.Step == steps.Last)
                Write();
        };
    }

    /// <summary>Writes the steps that were traced, if that has not been done.</summary>
    /// <returns>What was written, in words.</returns>
    /// <exception cref="UserException">The file cannot be written.</exception>
    public string Finish()
    {
        if (!isWritten && device!.Calls.Count > 0)
            Write();
        return isWritten ? $"{path}: {device!.Calls.Count(call => ProfilingDevice.IsLaunch(call.Call.Operation)):N0} launches of steps {device.Calls[0].Step} to {device.Calls[^1].Step}, for Perfetto (ui.perfetto.dev) or chrome://tracing"
            : $"nothing: the run ended before step {steps.First}";
    }

    private void Write()
    {
        KernelTrace.Write(path, device!.Calls);
        isWritten = true;
    }
}
