using ILGpuOptim.Compute;

namespace ILGpuOptim.Training;

/// <summary>What one update did. On a GPU it may be under way still: asking for the loss or the norm waits for it, and for nothing launched since.</summary>
public sealed class StepResult
{
    private readonly Readback measures;

    internal StepResult(long step, double epoch, double learningRate, Readback measures)
    {
        Step = step;
        Epoch = epoch;
        LearningRate = learningRate;
        this.measures = measures;
    }

    /// <summary>Which update, from 1.</summary>
    public long Step { get; }

    /// <summary>Epochs that are done after this update: 1.5 is the middle of the second. With <see cref="Data.Sampling.Random"/>, as many windows as 1.5 epochs have.</summary>
    public double Epoch { get; }

    /// <summary>The rate that was used.</summary>
    public double LearningRate { get; }

    /// <summary>The mean loss of the update's batches, in nats a token.</summary>
    public float Loss => measures.Wait()[0];

    /// <summary>The global norm of the gradient before clipping.</summary>
    public float GradientNorm => measures.Wait()[1];

    /// <summary>The time that <see cref="Trainer.Step"/> took; on a GPU that of the work only with <see cref="Trainer.TimesUpdates"/>, else of launching it.</summary>
    public TimeSpan Duration { get; internal set; }

    /// <summary>The optimizer's part of it, likewise.</summary>
    public TimeSpan UpdateDuration { get; internal set; }
}
