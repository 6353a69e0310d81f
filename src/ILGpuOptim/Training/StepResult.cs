using ILGpuOptim.Compute;

namespace ILGpuOptim.Training;

/// <summary>The result of one update. On a GPU the update may still be running: reading the loss or the norm waits for it, and for nothing launched since.</summary>
public sealed class StepResult
{
    private readonly Readback measures;
    private readonly bool hasPairs;

    internal StepResult(long step, double epoch, double learningRate, Readback measures, bool hasPairs)
    {
        this.hasPairs = hasPairs;
        Step = step;
        Epoch = epoch;
        LearningRate = learningRate;
        this.measures = measures;
    }

    /// <summary>The number of the update, from 1.</summary>
    public long Step { get; }

    /// <summary>Epochs completed after this update: 1.5 is the middle of the second. With <see cref="Data.Sampling.Random"/>, 1.5 means as many windows as 1.5 epochs have.</summary>
    public double Epoch { get; }

    /// <summary>The learning rate of the update.</summary>
    public double LearningRate { get; }

    /// <summary>The mean loss of the update's batches, in nats per token, or per pair of answers.</summary>
    public float Loss => measures.Wait()[0];

    /// <summary>The global norm of the gradient before clipping.</summary>
    public float GradientNorm => measures.Wait()[1];

    /// <summary>The reward margin and the accuracy of the update's pairs of answers; null for other data.</summary>
    public PreferenceMetrics? Preferences => hasPairs ? new PreferenceMetrics(measures.Wait()[2], measures.Wait()[3]) : null;

    /// <summary>Why the update was skipped (<see cref="TrainingSettings.SpikeThreshold"/>): weights and optimizer state are those before the step. Null: it was made.</summary>
    public Spike? Spike { get; internal set; }

    /// <summary>The norms of each trained parameter's gradient, update and weights; null except every <see cref="TrainingSettings.LayerInterval"/> steps.</summary>
    public IReadOnlyList<ParameterNorms>? Layers => Norms?.Wait();

    internal UpdateNorms.PendingNorms? Norms { get; set; }

    /// <summary>The duration of <see cref="Trainer.Step"/>. On a GPU it includes the computation only with <see cref="Trainer.TimesUpdates"/>; otherwise it is the launch time.</summary>
    public TimeSpan Duration { get; internal set; }

    /// <summary>The duration of the optimizer's update within it, measured in the same way.</summary>
    public TimeSpan UpdateDuration { get; internal set; }
}
