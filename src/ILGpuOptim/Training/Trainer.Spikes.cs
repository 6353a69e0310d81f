using ILGpuOptim.Compute;

namespace ILGpuOptim.Training;

// Steps whose loss or gradient norm spikes (TrainingSettings.SpikeThreshold): the loss is read before the update.
public sealed partial class Trainer
{
    private readonly SpikeGuard? guard;

    /// <summary>The statistics of losses and gradient norms, for checkpoints; null without a guard.</summary>
    internal SpikeState? Spikes
    {
        get => guard?.State;
        set => guard?.State = value ?? default;
    }

    /// <summary>Decides about a step whose gradients are complete: true if its update is skipped.</summary>
    /// <exception cref="SpikeException">The run stops.</exception>
    /// <exception cref="DivergedException">A parameter is not finite, so that every later loss would not be either.</exception>
    private bool Skips(StepResult result)
    {
        if (guard!.Find(result.Loss, result.GradientNorm) is not { } spike)
        {
            guard.Accept(result.Loss, result.GradientNorm);
            return false;
        }

        CheckParameters(spike);
        if (Settings.OnSpike == SpikeAction.Stop)
            throw new SpikeException($"step {result.Step}: {spike}", result.Step, spike);
        if (guard.State.InARow == SpikeGuard.MaxInARow)
            throw new SpikeException($"step {result.Step}: {spike}, and the {SpikeGuard.MaxInARow} steps before were skipped too", result.Step, spike);
        guard.Skip();
        result.Spike = spike;
        return true;
    }

    /// <summary>Checks the loss before updates within the backward pass. On asynchronous devices only a guard or the sum over shards needs the loss that early.</summary>
    /// <param name="own">The shard of the batch.</param>
    /// <exception cref="SpikeException">The loss spikes.</exception>
    /// <exception cref="DivergedException">A parameter is not finite.</exception>
    private void CheckBeforeUpdates(int own)
    {
        if (guard is null && Settings.Shards == 1 && Device.IsAsynchronous)
            return;
        ReadMeasures(own);
        float loss = Settings.Shards > 1 ? ShareMeasures() : shardMeasures[0];
        if (guard is null)
        {
            if (!float.IsFinite(loss))
                throw new DivergedException(Describe(loss));
        }
        else if (guard.Find(loss, null) is { } spike)
        {
            CheckParameters(spike);
            throw new SpikeException($"step {StepNumber + 1}: {spike}", StepNumber + 1, spike);
        }
    }

    private void CheckParameters(Spike spike)
    {
        if (!float.IsFinite(spike.Value) && !trained.All(parameter => AllFinite(parameter.ToArray())))
            throw new DivergedException(Describe(spike.Value));
    }
}
