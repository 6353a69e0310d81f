using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="ScheduleFreeOptimizer{TOptions}"/>.</summary>
public record ScheduleFreeOptions : OptimizerOptions
{
    /// <summary>Steps over which the learning rate grows to its value.</summary>
    [Description("steps over which the optimizer itself warms its learning rate up")]
    [Range(0)]
    public int WarmupSteps { get; init; }

    /// <summary>Exponent of the step in the weight of an iterate in the average.</summary>
    [Description("exponent of the step in the weight of an iterate in the average")]
    [Range(0)]
    public double AveragePower { get; init; }

    /// <summary>Exponent of the largest learning rate so far in the weight of an iterate in the average.</summary>
    [Description("exponent of the largest learning rate so far in the weight of an iterate in the average")]
    [Range(0)]
    public double RatePower { get; init; } = 2;
}

/// <summary>
/// Base of the schedule-free optimizers (Defazio et al., "The road less scheduled", NeurIPS 2024). Gradients are taken at y, which the parameter holds; the base
/// iterate z and the average x follow z ← z - a d, x ← (1-c) x + c z, y = (1-β) z + β x, where a = lr min(1, t / warm-up), the weight of step t is
/// w = tʳ (largest a)ᵖ, and c = w / (Σ w). Only y and z are stored; <see cref="EvaluationWeights"/> gives x = y + (1 - 1/β)(z - y).
/// </summary>
/// <typeparam name="TOptions">The options of a group.</typeparam>
/// <remarks>β must not change within a run, because x follows from it. The learning rate of a group multiplies all its a, so that c is the same for all groups.</remarks>
public abstract class ScheduleFreeOptimizer<TOptions> : Optimizer<TOptions> where TOptions : ScheduleFreeOptions
{
    private const string LargestRate = "lr_max", WeightSum = "weight_sum", AverageWeight = "average_weight";
    private long launched;
    private Evaluation? evaluating;

    /// <inheritdoc/>
    public sealed override bool HasEvaluationWeights => true;

    /// <inheritdoc/>
    public sealed override bool SupportsRanks => true;

    /// <summary>The weight c of this step's z in the average: a device scalar.</summary>
    protected Operand AverageShare => Operand.Scalar(Shared(AverageWeight));

    /// <inheritdoc/>
    protected sealed override IReadOnlyList<StateTensor> DeclareShared() => [new(LargestRate, [1]), new(WeightSum, [1]), new(AverageWeight, [1])];

    /// <summary>β: the share of x in y.</summary>
    protected abstract double Interpolation(TOptions options);

    /// <summary>Updates y and z.</summary>
    /// <param name="update">The parameter, its gradient and its state.</param>
    /// <param name="options">The settings of its group.</param>
    /// <param name="rate">The learning rate a.</param>
    protected abstract void Update(in ParameterUpdate update, TOptions options, double rate);

    /// <summary>Applies parts to a direction in memory, and moves y and z along it.</summary>
    /// <exception cref="UserException">A part would decay y outside the direction.</exception>
    private protected void Move(in ParameterUpdate update, TOptions options, double rate, Block direction)
    {
        Composition parts = update.State.Parts;
        Decay decay = parts.OfDirection(update.Name, Decay.WithUpdate(options.WeightDecay));
        if (decay.Value != decay.Of(DecayForm.WithUpdate))
            throw new UserException($"{Name}: its weight decay is a part of the direction; set decoupled_decay_form to with_update, or leave decoupled-decay out");
        var held = new HeldDirection(update, decay, 1, parts.Caution, direction);
        held.ApplyParts(isSummed: false);
        var (inner, outer) = held.Factors;
        var rule = new ScheduleFreeRules.HeldMovement(new(rate, Interpolation(options)), (float)decay.Value);
        update.Map(rule, update.Weights, update["z"], AverageShare, direction, inner, outer);
        held.Release();
    }

    /// <inheritdoc/>
    protected sealed override void Update(in ParameterUpdate update, TOptions options)
    {
        if (update.Step == 1)
            update.Map(new CopyRule(), update.Weights, update["z"]);
        Update(update, options, update.LearningRate * WarmthOf(options, update.Step));
    }

    /// <summary>The weight of the step's iterate, once in each step.</summary>
    private protected sealed override void Passing(ParameterState state)
    {
        if (state.Step <= launched)
            return;
        launched = state.Step;
        var options = (TOptions)state.Options;
        Device.Map(
            new ScheduleFreeRules.ShareRule((float)(LearningRateFactor * WarmthOf(options, state.Step)), (float)options.RatePower, (float)Math.Pow(state.Step, options.AveragePower)),
            1, 1, Shared(LargestRate), Shared(WeightSum), Shared(AverageWeight));
    }

    private static double WarmthOf(TOptions options, long step) => options.WarmupSteps > 0 ? Math.Min(1, (double)step / options.WarmupSteps) : 1;

    /// <inheritdoc/>
    public sealed override IDisposable? EvaluationWeights() => States.Count == 0 ? null : (evaluating = new Evaluation(this));

    internal sealed override StoredBytes TrainedWeights(Parameter parameter) => evaluating?.Trained(parameter) ?? base.TrainedWeights(parameter);

    /// <summary>x in the place of y.</summary>
    private sealed class Evaluation : IDisposable
    {
        private readonly ScheduleFreeOptimizer<TOptions> owner;
        private readonly List<(Parameter Parameter, Block Trained)> exchanged = [];

        public Evaluation(ScheduleFreeOptimizer<TOptions> optimizer)
        {
            owner = optimizer;
            foreach (ParameterState state in optimizer.States)
            {
                if (state.Step == 0)
                    continue;
                Parameter parameter = state.Parameter;
                Block x = parameter.Device.Pool.Rent(parameter.Length);
                double beta = optimizer.Interpolation((TOptions)state.Options);
                if (state.IsOwned)
                    parameter.Device.Map(new ScheduleFreeRules.AverageRule((float)(1 - 1 / beta)), parameter.Rows, parameter.Columns, parameter.Data, state["z"], x);
                exchanged.Add((parameter, parameter.Data));
                parameter.Data = x;
            }
        }

        /// <summary>The trained weights; null where they are in their place.</summary>
        public StoredBytes? Trained(Parameter parameter)
        {
            foreach ((Parameter each, Block trained) in exchanged)
            {
                if (each == parameter)
                    return new StoredBytes(trained, trained.Type.Bytes(parameter.Rows, parameter.Columns));
            }

            return null;
        }

        public void Dispose()
        {
            owner.evaluating = null;
            foreach ((Parameter parameter, Block trained) in exchanged)
            {
                parameter.Device.Pool.Return(parameter.Data);
                parameter.Data = trained;
            }

            exchanged.Clear();
        }
    }
}

/// <summary>Rules of the schedule-free optimizers.</summary>
internal static class ScheduleFreeRules
{
    /// <summary>The largest rate, the sum of weights, and c = w / Σw, which is 0 while the sum is.</summary>
    internal readonly struct ShareRule(float rate, float power, float stepWeight) : IMap3
    {
        private readonly float rate = rate, power = power, stepWeight = stepWeight;

        public static Access Access => Access.Of(Slot.Update, Slot.Update, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L largest, ref L sum, ref L share) where L : struct, ILane<L>
        {
            L zero = L.Splat(0);
            largest = L.Max(largest, L.Splat(rate));
            L powered = power == 2 ? largest * largest : power == 0 ? L.Splat(1) : L.Select(L.Less(zero, largest), L.Exp(L.Splat(power) * L.Log(largest)), zero);
            L weight = L.Splat(stepWeight) * powered;
            sum += weight;
            share = L.Select(L.Less(zero, sum), weight / sum, zero);
        }
    }

    /// <summary>x = y + rest (z - y).</summary>
    internal readonly struct AverageRule(float rest) : IMap3
    {
        private readonly float rest = rest;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L y, ref L z, ref L x) where L : struct, ILane<L> => x = L.Fma(L.Splat(rest), z - y, y);
    }

    /// <summary>A step in the direction outer · (inner · u + decay · y).</summary>
    internal readonly struct HeldMovement(Movement movement, float decay) : IMap6
    {
        private readonly Movement movement = movement;
        private readonly float decay = decay;

        public static Access Access => Access.Of(Slot.Update, Slot.Update, Slot.Read, Slot.Read, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L y, ref L z, ref L share, ref L u, ref L inner, ref L outer) where L : struct, ILane<L> =>
            movement.Apply(ref y, ref z, share, outer * L.Fma(L.Splat(decay), y, u * inner));
    }

    /// <summary>One step of y and z in the direction d: y += c (z - y) + a (β (1-c) - 1) d; z -= a d.</summary>
    internal readonly struct Movement(double rate, double interpolation)
    {
        private readonly float rate = (float)rate, interpolation = (float)interpolation;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L y, ref L z, L share, L direction) where L : struct, ILane<L>
        {
            L step = L.Splat(rate) * direction, one = L.Splat(1);
            y = L.Fma(share, z - y, y) + (L.Splat(interpolation) * (one - share) - one) * step;
            z -= step;
        }
    }
}
