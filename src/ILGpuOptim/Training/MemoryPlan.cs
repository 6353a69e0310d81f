using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Training;

/// <summary>The bytes that a run needs, before it begins.</summary>
/// <param name="Weights">Parameters, as they are stored.</param>
/// <param name="Gradients">The most of their gradients that exist at once.</param>
/// <param name="State">The optimizer's state, as it is stored.</param>
/// <param name="Activations">What the forward pass keeps for the backward pass, and all workspace, at the moment when most is in use.</param>
public sealed record MemoryPlan(long Weights, long Gradients, long State, long Activations)
{
    /// <summary>Memory of the program beside its tensors, measured on a two-core machine: the runtime, compiled code and managed objects.</summary>
    private const long Runtime = 128L << 20;

    /// <summary>Everything on the device: the most that is lent at once.</summary>
    public long Total => Weights + Gradients + State + Activations;

    /// <summary>
    /// The program's own memory, which is always the host's: the runtime with its compiled code, and the buffers through which the largest tensor
    /// passes when it is loaded or saved. An estimate, unlike the rest.
    /// </summary>
    public long Process { get; init; }

    /// <summary>The numbers of the model.</summary>
    public long Parameters { get; init; }

    /// <summary>The largest single piece, in bytes.</summary>
    public long Largest { get; init; }

    /// <summary>
    /// The plan of a model under some settings: training itself takes two steps on a device that only counts, so that everything is
    /// in it whatever the model, the optimizer and the storage.
    /// </summary>
    /// <param name="config">The model.</param>
    /// <param name="settings">How it is trained.</param>
    /// <param name="on">The device to train on; null: a processor.</param>
    /// <exception cref="UserException">The settings do not work.</exception>
    public static MemoryPlan Of(ModelConfig config, TrainingSettings settings, Device? on = null)
    {
        using var device = new DryDevice(on);
        using LanguageModel model = TrainedModel.Create(config, settings, device, loads: false);
        using Dataset data = Dataset.FromTokens(TokenSequence.From(new int[settings.Block + 1]), 1, null, 0, "memory", DocumentEnds.One(settings.Block + 1));
        using var trainer = new Trainer(device, model, data, settings with { Accumulate = 1, Warmup = 0, Steps = 2 });
        if (trainer.Optimizer is LowRankOptimizer lowRank)
            lowRank.ComputesNoBases = true;
        IReadOnlyList<Parameter> parameters = model.AllParameters;
        long gradients = 0;
        Action<Parameter>? update = trainer.Tape.GradientReady;
        trainer.Tape.GradientReady = parameter =>
        {
            gradients = Math.Max(gradients, trainer.Tape.Gradients.Bytes);
            update?.Invoke(parameter);
        };
        device.Pool.ResetPeak();
        trainer.Step();
        trainer.Step();
        long weights = parameters.Sum(parameter => parameter.Bytes), state = trainer.Optimizer.StateBytes;
        return new MemoryPlan(weights, gradients, state, device.Pool.PeakBytes - weights - gradients - state)
        {
            Parameters = model.ParameterCount,
            Largest = device.Largest,
            Process = Runtime + (2 * sizeof(float) * parameters.Max(parameter => parameter.Length)),
        };
    }

    private static FormattableString Smaller =>
        $"a smaller {nameof(TrainingSettings.Batch):setting} (with {nameof(TrainingSettings.Accumulate):setting}), {nameof(TrainingSettings.Block):setting} or model";

    /// <summary>Fails when a device has not the room.</summary>
    /// <exception cref="UserException">With the sizes and what to make smaller.</exception>
    public void CheckAgainst(Device device)
    {
        // What the process holds already is not free any more, but counted in its own share.
        long own = device.UsesHostMemory ? Math.Max(0, Process - Environment.WorkingSet) : 0, available = device.AvailableBytes;
        if (Total > available - own)
        {
            string parts = $"{Weights / 1e9:F2} weights, {Gradients / 1e9:F2} gradients, {State / 1e9:F2} optimizer, {Activations / 1e9:F2} activations{(own > 0 ? $", {own / 1e9:F2} for the program itself" : "")}";
            FormattableString savings = $"{Smaller}, {nameof(TrainingSettings.Recompute):setting}, {nameof(TrainingSettings.ParameterType):setting}, {nameof(OptimizerSettings.StateType):setting}, {nameof(TrainingSettings.Layerwise):setting}, or an optimizer with less state";
            throw UserException.NamingSettings($"{device.Name}: the run needs about {(Total + own) / 1e9:F2} GB ({parts}), but {available / 1e9:F2} GB are free; use {savings}");
        }

        if (Largest > device.LargestAllocation)
        {
            throw UserException.NamingSettings($"{device.Name}: the run needs {Largest / 1e9:F2} GB in one piece, but the driver gives at most {device.LargestAllocation / 1e9:F2} GB; use {Smaller}, or {nameof(TrainingSettings.Device):setting} cpu");
        }
    }
}
