using ILGpuOptim.Compute;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Training;

/// <summary>The bytes that a run needs, before it begins.</summary>
/// <param name="Weights">Parameters.</param>
/// <param name="Gradients">Their gradients.</param>
/// <param name="State">The optimizer's state.</param>
/// <param name="Activations">What the forward pass keeps for the backward pass, with workspace.</param>
public sealed record MemoryPlan(long Weights, long Gradients, long State, long Activations)
{
    /// <summary>Everything.</summary>
    public long Total => Weights + Gradients + State + Activations;

    /// <summary>The plan of a model under some settings. Activations are measured: a step runs on a device that only counts.</summary>
    public static MemoryPlan Of(ModelConfig config, TrainingSettings settings)
    {
        OptimizerEntry entry = Registry.Find(settings.Optimizer.Name);
        using Optimizer optimizer = entry.Create(settings.Optimizer.StateType);
        using var device = new DryDevice();
        using LanguageModel model = config.Create(new Layers.Initializer(device, 0));
        TrainedModel.Prepare(model, settings);
        long weights = 0, gradients = 0, state = 0;
        foreach (Parameter parameter in model.AllParameters)
        {
            weights += 4 * parameter.Length;
            if (parameter.IsFrozen)
                continue;
            gradients += 4 * parameter.Length;
            state += optimizer.StateOf(parameter.Shape, entry.OptionsOf(settings.Optimizer, parameter.Name, parameter.Shape)).Sum(tensor => tensor.Bytes);
        }

        long before = device.Pool.LentBytes;
        var tokens = new int[checked(settings.Batch * settings.Block)];
        var targets = new int[tokens.Length];
        Trainer.MaskingOf(model, settings)?.Apply(0, 0, tokens, targets);
        var tape = new Tape(device);
        tape.Backward(model.Loss(tape, tokens, targets, settings.Batch));
        long peak = device.Pool.PeakBytes - before;
        tape.Reset();
        return new MemoryPlan(weights, gradients, state, Math.Max(0, peak - gradients));
    }

    /// <summary>Fails when a device has not the room.</summary>
    /// <exception cref="UserException">With the sizes and what to make smaller.</exception>
    public void CheckAgainst(Device device)
    {
        long available = device.AvailableBytes;
        if (Total > available)
        {
            throw new UserException(
                $"{device.Name}: the run needs about {Total / 1e9:F2} GB ({Weights / 1e9:F2} weights, {Gradients / 1e9:F2} gradients, {State / 1e9:F2} optimizer, " +
                $"{Activations / 1e9:F2} activations), but {available / 1e9:F2} GB are free; use a smaller --batch (with --accumulate), --block or model, or an optimizer with less state");
        }
    }
}
