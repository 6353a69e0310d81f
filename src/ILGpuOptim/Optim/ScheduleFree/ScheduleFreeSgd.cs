using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="ScheduleFreeSgd"/>.</summary>
public sealed record ScheduleFreeSgdOptions : ScheduleFreeOptions
{
    /// <summary>The learning rate is that of the reference.</summary>
    public ScheduleFreeSgdOptions() => LearningRate = 1;

    /// <summary>β: the share of the average in the point where gradients are taken.</summary>
    [Description("share of the averaged weights in the point where gradients are taken")]
    [Range(0, 1, MinimumIsExclusive = true, MaximumIsExclusive = true)]
    public double Momentum { get; init; } = 0.9;
}

/// <summary>Schedule-free SGD (Defazio et al., "The road less scheduled", NeurIPS 2024): <see cref="ScheduleFreeOptimizer{TOptions}"/> with d = g + decay · y. One pass: 20 bytes a parameter; state 4mn bytes.</summary>
public sealed class ScheduleFreeSgd : ScheduleFreeOptimizer<ScheduleFreeSgdOptions>
{
    /// <inheritdoc/>
    public override string Name => "schedulefree-sgd";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, ScheduleFreeSgdOptions options) => [new("z", shape)];

    /// <inheritdoc/>
    protected override double Interpolation(ScheduleFreeSgdOptions options) => options.Momentum;

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, ScheduleFreeSgdOptions options, double rate)
    {
        if (update.State.Parts.ChangesMove)
        {
            Block direction = update.Device.Pool.Rent(update.Length);
            update.Map(new CopyRule(), update.Gradient, direction);
            Move(update, options, rate, direction);
            update.Device.Pool.Return(direction);
        }
        else
        {
            update.Map(new Rule(new ScheduleFreeRules.Movement(rate, options.Momentum), (float)options.WeightDecay), update.Weights, update.Gradient, update["z"], AverageShare);
        }
    }

    private readonly struct Rule(ScheduleFreeRules.Movement movement, float decay) : IMap4
    {
        private readonly ScheduleFreeRules.Movement movement = movement;
        private readonly float decay = decay;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L y, ref L g, ref L z, ref L share) where L : struct, ILane<L> => movement.Apply(ref y, ref z, share, L.Fma(L.Splat(decay), y, g));
    }
}
