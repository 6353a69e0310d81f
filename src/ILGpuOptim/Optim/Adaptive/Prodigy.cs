using System.ComponentModel;
using ILGpuOptim.Compute;
using ILGpuOptim.Ops;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="Prodigy"/>. All parameters must agree on them, except for weight decay and a learning rate of 0.</summary>
public sealed record ProdigyOptions : AdamOptions
{
    /// <summary>The learning rate is a factor of the estimated one.</summary>
    public ProdigyOptions() => LearningRate = 1;

    /// <summary>Decay of the sums that estimate the distance; null: √β₂.</summary>
    [Description("decay rate of the sums that estimate the step size; the root of beta2 by default")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double? Beta3 { get; init; }

    /// <summary>The first estimate of the distance to the solution.</summary>
    [Description("first estimate of the distance to the solution")]
    [Range(0, MinimumIsExclusive = true)]
    public double D0 { get; init; } = 1e-6;

    /// <summary>Multiplies the estimate.</summary>
    [Description("factor of the estimated distance")]
    [Range(0, MinimumIsExclusive = true)]
    public double DCoef { get; init; } = 1;

    /// <summary>The largest growth of the estimate in one step; null: unlimited.</summary>
    [Description("largest growth of the estimate in one step; unlimited by default")]
    [Range(1)]
    public double? GrowthRate { get; init; }

    /// <summary>Enables Adam's bias correction in the step size.</summary>
    [Description("enables Adam's bias correction")]
    public bool UseBiasCorrection { get; init; }

    /// <summary>Applies weight decay to the parameter; otherwise it is added to the gradient.</summary>
    [Description("applies weight decay directly to the parameter")]
    public bool Decouple { get; init; } = true;

    /// <summary>Leaves the learning rate out of the sums' denominator, so that a warm-up does not raise the estimate.</summary>
    [Description("leaves the learning rate out of the denominator of the estimate, for a warm-up")]
    public bool SafeguardWarmup { get; init; }

    /// <summary>Estimates the distance from every so-many-th element.</summary>
    [Description("estimates the distance from every so-many-th element, which saves memory")]
    [Range(1)]
    public int SliceP { get; init; } = 1;

    /// <summary>Leaves parameters of learning rate 0 unchanged; otherwise they decay by the common rate.</summary>
    [Description("leaves parameters of learning rate 0 unchanged, which otherwise decay by the common rate")]
    public bool FreezesZeroRate { get; init; }

    internal double DecayOfSums => Beta3 ?? Math.Sqrt(Beta2);
}

/// <summary>
/// Prodigy (Mishchenko and Defazio, "Prodigy: An expeditiously adaptive parameter-free learner", ICML 2024): Adam on d·g, with a step size a = d · lr from an estimate d of
/// the distance to the solution. In each step, over all parameters: n ← β₃n + (d/d₀) a ⟨g, p₀ - p⟩, s ← β₃s + (d/d₀) a g, d̂ = coefficient · n / ‖s‖₁; d becomes at least d̂
/// once, and then min(largest d̂, d · growth). m ← β₁m + (1-β₁) d g; v ← β₂v + (1-β₂) d²g²; p -= decay · a · p; p -= a m / (√v + d ε), with the new d at ε only.
/// If every gradient so far was zero, nothing but the moments changes.
/// </summary>
/// <remarks>Two passes, 48 bytes a parameter; the scalars stay on the device. State 8mn bytes, and 8mn / slice for s and p₀.</remarks>
public sealed class Prodigy : Optimizer<ProdigyOptions>
{
    private const string Distance = "d", Largest = "d_max", Numerator = "d_numerator", Corrections = "bias_corrections";
    private const int OfSums = 0, OfMoments = 1, Clipped = 2, Negated = 4, Base = 6, Rate = 7, FlooredEpsilon = 8, ProductSum = 9, NormSum = 10, ScalarCount = 11;

    /// <summary>Device scalars of a step: the factors of gradients in the sums and in the moments, the same with clipping, and with the other sign; lr and its correction; a; d ε; the sums.</summary>
    private Block? scalars;

    /// <summary>The two sums of each parameter, in the order of the parameters.</summary>
    private Block? sums;

    /// <inheritdoc/>
    public override string Name => "prodigy";

    /// <inheritdoc/>
    public override bool NeedsAllGradients => true;

    /// <inheritdoc/>
    public override bool SupportsRanks => true;

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> DeclareShared() => [new(Distance, [1]), new(Largest, [1]), new(Numerator, [1]), new(Corrections, [2])];

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, ProdigyOptions options)
    {
        if (States.FirstOrDefault(state => state.Options.LearningRate > 0) is { } other && options.LearningRate > 0 && other.Options.LearningRate != options.LearningRate)
            throw new UserException($"all learning rates must be equal, or 0, because the estimated step size is common to all parameters; {other.Parameter.Name} has {other.Options.LearningRate}");
        long length = shape.Aggregate(1L, (product, size) => product * size);
        int sliced = checked((int)((length + options.SliceP - 1) / options.SliceP));
        List<StateTensor> state = options.Beta1 > 0 ? [StateTensor.Signed("exp_avg", shape)] : [];
        return [.. state, StateTensor.NonNegative("exp_avg_sq", shape), new("s", [sliced]), new("p0", [sliced])];
    }

    private protected override bool GathersGradients => true;

    /// <summary>The estimate, and the sums over all parameters that change it.</summary>
    private protected override void Gather()
    {
        ProdigyOptions? common = null;
        foreach (ParameterState state in States)
        {
            if (common is null || state.Options.LearningRate > common.LearningRate)
                common = (ProdigyOptions)state.Options;
        }

        if (common is null)
            return;
        Device device = Device;
        scalars ??= device.Pool.Rent(ScalarCount);
        sums ??= device.Pool.Rent(2L * States.Count);
        Block first = Shared(Corrections).Slice(0, 1), second = Shared(Corrections).Slice(1, 1);
        device.Map(new ProdigyRules.BaseRate(common, LearningRateFactor), 1, 1, first, second, Scalar(Base));
        device.Map(new ProdigyRules.Begin((float)common.D0, common.SafeguardWarmup), 1, 1, Shared(Distance), Shared(Largest), Scalar(Base), Scalar(Rate), Scalar(OfSums), Scalar(OfMoments));
        device.Copy(scalars.Value.Slice(OfSums, 2), scalars.Value.Slice(Clipped, 2));
        if (StepFactor is { } clip)
            device.Map(new ScaleByRule(), 1, 2, scalars.Value.Slice(Clipped, 2), Operand.Scalar(clip));
        device.Map(new ProdigyRules.Negate(), 1, 2, scalars.Value.Slice(Clipped, 2), scalars.Value.Slice(Negated, 2));
        device.Fill(sums.Value, 0);
        for (int i = 0; i < States.Count; i++)
        {
            ParameterState state = States[i];
            if (state.Options.LearningRate > 0 && state.Parameter.Length > 0 && HasGradient(state))
                Add(UpdateOf(state), (ProdigyOptions)state.Parts.Seen, sums.Value.Slice(i, 1), sums.Value.Slice(States.Count + i, 1));
        }

        ShareAcrossRanks(sums.Value);
        device.Map(new TotalRule(), 1, States.Count, sums.Value.Slice(0, States.Count), Operand.Scalar(Scalar(ProductSum)));
        device.Map(new TotalRule(), 1, States.Count, sums.Value.Slice(States.Count, States.Count), Operand.Scalar(Scalar(NormSum)));

        // The products have the factor of s, in which the safeguard leaves a / d out.
        if (common.SafeguardWarmup)
            device.Map(new ScaleByRule(), 1, 1, Scalar(ProductSum), Operand.Scalar(Scalar(Base)));
        device.Map(new ProdigyRules.Estimate(common), 1, 1, Scalar(ProductSum), Scalar(NormSum), Shared(Distance), Shared(Largest), Shared(Numerator), Scalar(Rate));
        device.Map(new ProdigyRules.End(common), 1, 1, Scalar(NormSum), first, second, Shared(Distance), Scalar(Base), Scalar(FlooredEpsilon));
    }

    private Block Scalar(int index) => scalars!.Value.Slice(index, 1);

    /// <summary>Computes the sums of one parameter.</summary>
    private void Add(in ParameterUpdate update, ProdigyOptions o, in Block products, in Block norms)
    {
        Device device = update.Device;
        Parameter parameter = update.State.Parameter;
        int slice = o.SliceP;
        Block s = update.StateValues("s"), origin = update.StateValues("p0"), weights = parameter.IsNarrow ? parameter.Widened() : parameter.Data;
        Operand gradient = Scaled(update, weights, o, OfSums, out Block? penalized);
        (long rows, long columns, int stride) = slice == 1 ? (1L, update.Length, 0) : (s.Length, 1L, slice);
        var sliced = new Operand(weights, Stride: stride);
        if (update.Step == 0)
            device.Map(new CopyRule(), rows, columns, sliced, origin);
        device.Map(new ProdigyRules.Sums((float)o.DecayOfSums), rows, columns, sliced, gradient with { Stride = stride }, origin, s,
            Operand.Scalar(products), Operand.Scalar(norms));
        if (parameter.IsNarrow)
            device.Pool.Return(weights);
        if (penalized is { } block)
            device.Pool.Return(block);
    }

    /// <summary>The gradient, with coupled weight decay in it, times one of the scalars.</summary>
    private Operand Scaled(in ParameterUpdate update, in Operand weights, ProdigyOptions o, int factor, out Block? penalized)
    {
        penalized = null;
        if (o.Decouple || o.WeightDecay == 0)
            return update.Gradient with { Factor = Scalar(factor + (o.Maximize ? Negated : Clipped)) };
        penalized = update.Device.Pool.Rent(update.Length);
        update.Map(new PenaltyRule((float)o.WeightDecay), update.Gradient, weights, penalized.Value);
        return new Operand(penalized.Value, Factor: Scalar(factor));
    }

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, ProdigyOptions o)
    {
        bool rests = o.LearningRate == 0;
        if (rests)
            update.Rest();
        if (rests && o.FreezesZeroRate)
            return;
        float decay = o.Decouple ? (float)o.WeightDecay : 0;
        Operand weights = update.Weights, rate = Operand.Scalar(Scalar(Rate)), epsilon = Operand.Scalar(Scalar(FlooredEpsilon));
        if (rests && o.Beta1 > 0)
        {
            update.Map(new ProdigyRules.Decay(decay), weights, rate);
            return;
        }

        Operand gradient = Scaled(update, weights, o, OfMoments, out Block? penalized);
        if (update.State.Parts.ChangesMove && !rests)
        {
            Block direction = update.Device.Pool.Rent(update.Length);
            if (o.Beta1 > 0)
                update.Map(new ProdigyRules.Direction(o), direction, gradient, update["exp_avg"], update["exp_avg_sq"], epsilon);
            else
                update.Map(new ProdigyRules.GradientDirection(o), direction, gradient, update["exp_avg_sq"], rate, Operand.Scalar(Scalar(Base)), epsilon);
            update.Move(direction, Decay.Before(decay), Scalar(Rate));
            update.Device.Pool.Return(direction);
        }
        else if (o.Beta1 > 0)
            update.Map(new ProdigyRules.Step(o, decay), weights, gradient, update["exp_avg"], update["exp_avg_sq"], rate, epsilon);
        else
            update.Map(new ProdigyRules.GradientStep(o, decay, rests), weights, gradient, update["exp_avg_sq"], rate, Operand.Scalar(Scalar(Base)), epsilon);
        if (penalized is { } block)
            update.Device.Pool.Return(block);
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        foreach (Block? rented in (Block?[])[scalars, sums])
        {
            if (rented is { } block)
                block.Memory.Device.Pool.Return(block);
        }

        (scalars, sums) = (null, null);
        base.Dispose();
    }
}
