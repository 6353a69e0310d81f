using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Data.Conversations;
using ILGpuOptim.Distributed;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Training;

/// <summary>The device memory of a training run in bytes, predicted before it is allocated.</summary>
/// <param name="Weights">The parameters in their storage type.</param>
/// <param name="Gradients">The largest sum of parameter gradients that exist at once.</param>
/// <param name="State">The optimizer state in its storage type.</param>
/// <param name="Activations">The activations kept for the backward pass, and all workspace, at the peak.</param>
/// <remarks>
/// The plan is the peak of a real run to the byte on processors. A mixture of experts has the same sizes however its routers choose: tensors hold one
/// row for each token and chosen expert. Only the workspace of a GPU's products depends on the rows of an expert; the plan counts the most that any
/// number of rows needs.
/// </remarks>
public sealed record MemoryPlan(long Weights, long Gradients, long State, long Activations)
{
    /// <summary>Memory of the process without tensors, measured on a two-core machine: the runtime, compiled code and managed objects.</summary>
    private const long Runtime = 128L << 20;

    /// <summary>The peak of the allocated device memory.</summary>
    public long Total => Weights + Gradients + State + Activations + Averages;

    /// <summary>The exponential moving average of the weights (<see cref="TrainingSettings.Ema"/>).</summary>
    public long Averages { get; init; }

    /// <summary>
    /// An estimate of the process's own host memory: the runtime, compiled code, and the buffers for loading and saving the largest tensor.
    /// </summary>
    public long Process { get; init; }

    /// <summary>The number of elements of all parameters.</summary>
    public long Parameters { get; init; }

    /// <summary>The largest single allocation, in bytes.</summary>
    public long Largest { get; init; }

    /// <summary>Notes on ranks that the model reduces.</summary>
    internal IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>
    /// Predicts the memory of a run: two training steps run on a <see cref="DryDevice"/>, so the plan covers every model, optimizer and storage type.
    /// </summary>
    /// <param name="config">The model; see <see cref="TrainedModel.Configuration"/>.</param>
    /// <param name="settings">The training settings.</param>
    /// <param name="on">The device to train on; null: a processor.</param>
    /// <exception cref="UserException">The settings contradict each other or the model.</exception>
    public static MemoryPlan Of(ModelConfig config, TrainingSettings settings, Device? on = null) => Of(config, settings, on, 0, 1);

    /// <summary>As <see cref="Of(ModelConfig, TrainingSettings, Device?)"/>, for one rank of several (<see cref="Communicator"/>).</summary>
    /// <param name="config">The model; see <see cref="TrainedModel.Configuration"/>.</param>
    /// <param name="settings">The training settings.</param>
    /// <param name="on">The device to train on; null: a processor.</param>
    /// <param name="rank">The rank.</param>
    /// <param name="ranks">The number of ranks.</param>
    /// <exception cref="UserException">The settings contradict each other, the model or the number of ranks.</exception>
    public static MemoryPlan Of(ModelConfig config, TrainingSettings settings, Device? on, int rank, int ranks)
    {
        // Conversations are kept apart, packed, whatever the settings say of other data.
        bool hasPairs = settings.Data.Any(ConversationFile.IsPairs);
        if (hasPairs || settings.Data.Any(ConversationFile.Is))
            settings = settings with { Documents = true, Pad = false };
        bool hasExperts = config.Describe()?.Blocks.Any(block => block.FeedForward.Experts is not null) ?? false;
        using var device = new DryDevice(on) { HasRoutedProducts = hasExperts };
        using LanguageModel model = TrainedModel.Create(config, settings, device, loads: false);
        using Dataset data = hasPairs ? Dataset.OfOnePair(settings.Block) : DataOf(settings, 1);
        using Communicator? communicator = ranks > 1 ? new PlanCommunicator(rank, ranks) : null;
        using var trainer = new Trainer(device, model, data, settings with { Accumulate = 1, Warmup = 0, Steps = 2, LayerInterval = Math.Min(1, settings.LayerInterval) }, communicator);
        trainer.References = hasPairs ? new ReferenceScores(new float[2], []) : null;
        if (trainer.Optimizer is ILowRankOptimizer lowRank)
            lowRank.ComputesNoBases = true;
        if (trainer.Optimizer is IBasisOptimizer bases)
            bases.ComputesNoBases = true;
        IReadOnlyList<Parameter> parameters = model.AllParameters;
        long gradients = 0;
        Action<Parameter>? update = trainer.Tape.GradientReady;
        trainer.Tape.GradientReady = parameter =>
        {
            gradients = Math.Max(gradients, trainer.Tape.Gradients.Bytes + trainer.ShardBytes);
            update?.Invoke(parameter);
        };
        device.Pool.ResetPeak();
        trainer.Step();
        trainer.Step();
        if (trainer.Optimizer is ICurvatureOptimizer curvature && curvature.CurvatureInterval <= settings.Steps)
            trainer.EstimateCurvature(curvature);
        if (trainer.Optimizer.HasEvaluationWeights && settings.EvalBatches > 0)
            trainer.Validate(Math.Min(ranks, settings.EvalBatches), onTraining: true);
        long weights = parameters.Sum(parameter => parameter.Bytes), state = trainer.Optimizer.StateBytes, averages = trainer.Average?.Bytes ?? 0;
        return new MemoryPlan(weights, gradients, state, device.Pool.PeakBytes - weights - gradients - state - averages)
        {
            Averages = averages,
            Parameters = model.ParameterCount,
            Largest = device.Largest,
            Notes = [.. Trainer.ReducedRanks(settings, trainer.Optimizer)],
            Process = Runtime + (2 * sizeof(float) * parameters.Max(parameter => parameter.Length)),
        };
    }

    private static FormattableString Smaller =>
        $"a smaller {nameof(TrainingSettings.Batch):setting} (with {nameof(TrainingSettings.Accumulate):setting}), {nameof(TrainingSettings.Block):setting} or model";

    /// <summary>The shortest data that settings can train on, for plans of models whose vocabulary does not follow data.</summary>
    /// <param name="settings">The settings, with the block.</param>
    /// <param name="vocabulary">The vocabulary size.</param>
    public static Dataset DataOf(TrainingSettings settings, int vocabulary) =>
        Dataset.FromTokens(TokenSequence.From(new int[settings.Block + 1]), vocabulary, null, 0, "memory", DocumentEnds.One(settings.Block + 1));

    /// <summary>Checks that a device has enough free memory.</summary>
    /// <exception cref="UserException">It has not. The message names the sizes and the settings that reduce them.</exception>
    public void CheckAgainst(Device device) => CheckAgainst(device, 1);

    /// <summary>As <see cref="CheckAgainst(Device)"/>, where several ranks with equal plans share the memory of a host.</summary>
    internal void CheckAgainst(Device device, int ranks)
    {
        // The process's present memory is no longer free, but part of Process.
        long own = device.UsesHostMemory ? Math.Max(0, Process - Environment.WorkingSet) : 0, available = device.AvailableBytes / (device.UsesHostMemory ? ranks : 1);
        if (Total > available - own)
        {
            string parts = $"{Weights / 1e9:F2} weights, {Gradients / 1e9:F2} gradients, {State / 1e9:F2} optimizer, {Activations / 1e9:F2} activations{(Averages > 0 ? $", {Averages / 1e9:F2} averages" : "")}{(own > 0 ? $", {own / 1e9:F2} for the process itself" : "")}";
            FormattableString savings = $"{Smaller}, {nameof(TrainingSettings.Recompute):setting}, {nameof(TrainingSettings.Precision):setting}, {nameof(TrainingSettings.ParameterType):setting}, {nameof(OptimizerSettings.StateType):setting}, {nameof(TrainingSettings.Layerwise):setting}, or an optimizer with less state";
            throw UserException.NamingSettings($"{device.Name}: the run needs about {(Total + own) / 1e9:F2} GB ({parts}), but {available / 1e9:F2} GB are free; use {savings}");
        }

        if (Largest > device.LargestAllocation)
        {
            throw UserException.NamingSettings($"{device.Name}: the run needs {Largest / 1e9:F2} GB in one allocation, but the driver allows at most {device.LargestAllocation / 1e9:F2} GB; use {Smaller}, or {nameof(TrainingSettings.Device):setting} cpu");
        }
    }
}
