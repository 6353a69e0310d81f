using System.Globalization;
using ILGpuOptim.Models;

namespace ILGpuOptim.Training;

// The checkpoints of a run: when they are written and removed, and where they are.
public sealed partial class TrainingRun
{
    /// <summary>
    /// The folder of a run's newest checkpoint, or the folder itself if it holds a model or adapters; of a checkpoint with averaged weights
    /// (<see cref="TrainingSettings.Ema"/>) the folder of these.
    /// </summary>
    /// <param name="path">A run, a checkpoint, or a folder with a model.</param>
    /// <param name="weights">Which weights of a checkpoint.</param>
    /// <exception cref="UserException">It is none of these, or has no averaged weights.</exception>
    public static string ModelFolder(string path, WeightChoice weights = WeightChoice.Default)
    {
        string folder = File.Exists(Path.Combine(path, ModelFiles.Config)) || AdapterFiles.Exist(path) ? path
            : Checkpoints(path).LastOrDefault().Path ?? throw (
                File.Exists(path) ? ForeignModel.Explain(path)
                : ModelConfig.Locate(path) is { } config ? ForeignModel.Explain(config)
                : new UserException(Directory.Exists(path) ? $"{path}: there is neither a model (config.json) nor a run with checkpoints in this folder"
                    : $"{path}: no such folder; give a run or a folder with config.json and model.safetensors"));
        string averaged = Path.Combine(folder, WeightAverage.Folder);
        bool isCheckpoint = File.Exists(Path.Combine(folder, Checkpoint.FileName)), hasAverage = isCheckpoint && Directory.Exists(averaged);
        if (weights == WeightChoice.Ema && !hasAverage)
            throw UserException.NamingSettings($"{nameof(weights):setting} ema: {folder} has no averaged weights; train with {nameof(Settings.Ema):setting}, or leave it out");
        return hasAverage && weights != WeightChoice.Raw ? averaged : folder;
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

    /// <summary>Records a spike that ends the run, saves the state before it, and says what to do.</summary>
    private SpikeException Stopped(SpikeException spike)
    {
        Report(() => recorder?.Stopped(spike));
        SaveNew();
        failure?.Throw();
        return new($"{spike.Message}. The update was not made. {(Trainer.StepNumber == 0 ? "The run has made no step" : $"The state after step {Trainer.StepNumber} is saved")}: continue with {ResumePath:setting} {Folder} and {nameof(Settings.OnSpike):setting} skip, a larger {nameof(Settings.SpikeThreshold):setting}, or a lower {nameof(Settings.Optimizer.LearningRate):setting}", spike.Step, spike.Spike, spike);
    }

    /// <summary>Saves a checkpoint, unless there is one of this step.</summary>
    private void SaveNew()
    {
        if (Trainer.StepNumber > 0 && OnAnyRank(Writes(Trainer.Communicator) && Checkpoints(Folder).LastOrDefault().Step != Trainer.StepNumber))
            Save();
    }

    private void Save()
    {
        Trainer.Settle();
        Report(() => recorder?.Flush());
        string path = Path.Combine(Folder, CheckpointFolder, $"step-{Trainer.StepNumber:D7}");
        TrainingEvents.Log.CheckpointStart(Trainer.StepNumber);
        Checkpoint.Save(path, Trainer, tokenizer, validation, Data.ChatTemplate);
        TrainingEvents.Log.CheckpointStop(Trainer.StepNumber);
        if (!Writes(Trainer.Communicator))
            return;
        Report(() => Saved?.Invoke(path));
        (long Step, string Path)[] all = [.. Checkpoints(Folder)];
        (string? best, double loss) = all.Select(item => (item.Path, Checkpoint.ValidationLossOf(item.Path))).MinBy(item => item.Item2);
        foreach ((_, string old) in all.SkipLast(Settings.Keep))
        {
            // Without a validation there is no best.
            if (old != best || double.IsPositiveInfinity(loss))
                Checkpoint.Remove(old);
        }

        recorder?.Restart();
    }
}
