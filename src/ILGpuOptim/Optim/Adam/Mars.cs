using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Ops;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>The update that <see cref="Mars"/> makes of a corrected gradient.</summary>
public enum MarsKind
{
    /// <summary>That of AdamW.</summary>
    AdamW,

    /// <summary>The sign of the momentum.</summary>
    Lion,

    /// <summary>The orthogonalised momentum of a matrix, as in <see cref="Muon"/>; other tensors as AdamW.</summary>
    Shampoo,
}

/// <summary>Settings of <see cref="Mars"/>.</summary>
public sealed record MarsOptions : AdamOptions
{
    /// <summary>The learning rate and β of the paper.</summary>
    public MarsOptions() => (LearningRate, Beta1, Beta2) = (3e-3, 0.95, 0.99);

    /// <summary>The update.</summary>
    [Description("update of the corrected gradient")]
    public MarsKind Kind { get; init; }

    /// <summary>Strength of variance reduction.</summary>
    [Description("strength γ of variance reduction")]
    [Range(0)]
    public double Gamma { get; init; } = 0.025;

    /// <summary>Divides by the largest second moment so far.</summary>
    [Description("divides by the largest second moment so far; 4 more bytes per parameter")]
    public bool AmsGrad { get; init; }

    /// <summary>Corrects the gradients of all tensors; otherwise AdamW trains what is no matrix.</summary>
    [Description("corrects the gradients of vectors too, which AdamW trains otherwise")]
    public bool CorrectsVectors { get; init; }

    /// <summary>Decay of the first moment of what is no matrix.</summary>
    [Description("decay rate of the first moment of vectors")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double VectorBeta1 { get; init; } = 0.9;

    /// <summary>Decay of the second moment of what is no matrix.</summary>
    [Description("decay rate of the second moment of vectors")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double VectorBeta2 { get; init; } = 0.95;

    /// <summary>Multiplies the learning rate of what is no matrix.</summary>
    [Description("factor of the learning rate of vectors")]
    [Range(0)]
    public double VectorRate { get; init; } = 1;

    /// <summary>Weight decay of what is no matrix, in place of that of its group. The reference's default is 0.1.</summary>
    [Description("weight decay of vectors")]
    [Range(0)]
    public double VectorDecay { get; init; }
}

/// <summary>
/// MARS (Yuan et al., "MARS: Unleashing the Power of Variance Reduction for Training Large Models", 2024) in its approximate form: the gradient is corrected by its change
/// since the step before. c = g + γβ₁ / (1-β₁) · (g - g'), divided by max(1, ‖c‖); m = β₁m + (1-β₁)c; p -= lr · (u + decay · p), where u is
/// AdamW's quotient of m and v = β₂v + (1-β₂)c², the sign of m, or √max(1, rows / columns) times the orthogonalised m.
/// </summary>
/// <remarks>
/// Two passes, 44 bytes a parameter in f32: g, g' (8); p, g, g', m, v (36). State 12mn bytes; 8mn without v. g' is a copy: where it is the gradient's own buffer, as in the reference, clearing or
/// accumulating gradients changes it too.
/// </remarks>
public sealed class Mars : Optimizer<MarsOptions>
{
    /// <inheritdoc/>
    public override string Name => "mars";

    private static bool Corrects(IReadOnlyList<int> shape, MarsOptions o) => shape.Count == 2 || o.CorrectsVectors;

    private static MarsKind KindOf(IReadOnlyList<int> shape, MarsOptions o) =>
        !Corrects(shape, o) || (o.Kind == MarsKind.Shampoo && shape.Count != 2) ? MarsKind.AdamW : o.Kind;

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, MarsOptions o)
    {
        List<StateTensor> state = [StateTensor.Signed("exp_avg", shape)];
        if (KindOf(shape, o) == MarsKind.AdamW)
        {
            state.Add(StateTensor.NonNegative("exp_avg_sq", shape));
            if (o.AmsGrad)
                state.Add(StateTensor.NonNegative("max_exp_avg_sq", shape));
        }

        if (Corrects(shape, o))
            state.Add(StateTensor.Signed("last_grad", shape));
        return state;
    }

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, MarsOptions o)
    {
        if (!Corrects(update.Shape, o))
        {
            UpdateVector(update, o with { Beta1 = o.VectorBeta1, Beta2 = o.VectorBeta2 }, update.LearningRate * o.VectorRate);
            return;
        }

        Device device = update.Device;
        Block scalar = device.Pool.Rent(1);
        Operand clip = Operand.Scalar(scalar), g = update.Gradient, last = update["last_grad"];
        var correction = new Correction((float)(o.Gamma * o.Beta1 / (1 - o.Beta1)));
        update.Map(new SquaresRule(correction), g, last, clip);
        device.Map(new ClipRule(), 1, 1, scalar);
        if (KindOf(update.Shape, o) == MarsKind.Shampoo)
        {
            Block corrected = device.Pool.Rent(update.Length);
            update.Map(new CorrectRule(correction), g, last, corrected, clip);
            int m = update.Shape[0], n = update.Shape[1];
            Block x = NewtonSchulz.Orthogonalised(device, new OrthogonalOptions { Momentum = o.Beta1, Nesterov = false, NormEpsilon = o.Epsilon * (1 - o.Beta1) }, addsEpsilon: true, corrected, update.StateValues("exp_avg"), m, n);
            update.Move(x, Decay.Before(o.WeightDecay), Math.Sqrt(Math.Max(1, (double)m / n)));
            device.Pool.Return(x);
            device.Pool.Return(corrected);
        }
        else
        {
            MoveBy(update, o, correction, clip);
        }

        device.Pool.Return(scalar);
    }

    /// <summary>AdamW's or Lion's move by the corrected gradient.</summary>
    private static void MoveBy(in ParameterUpdate update, MarsOptions o, Correction correction, in Operand clip)
    {
        Operand g = update.Gradient, last = update["last_grad"];
        var motion = new Motion(update, Decay.Before(o.WeightDecay), isWhole: true);
        var adam = AdamDirection.Corrected(o, update.Step);
        if (KindOf(update.Shape, o) == MarsKind.Lion)
        {
            motion.Map(new LionRule(correction, (float)o.Beta1, (float)(1 - o.Beta1)), g, last, update["exp_avg"], clip);
        }
        else if (o.AmsGrad)
        {
            Block m = update.StateValues("exp_avg"), v = update.StateValues("exp_avg_sq"), most = update.StateValues("max_exp_avg_sq");
            update.Map(new AmsGradRule(correction, adam), g, last, m, v, most, clip);
            motion.Map(new AmsGradStep(adam), m, most);
        }
        else
        {
            motion.Map(new AdamRule(correction, adam), g, last, update["exp_avg"], update["exp_avg_sq"], clip);
        }

        motion.End();
    }

    /// <summary>AdamW with its own β, rate and decay.</summary>
    private static void UpdateVector(in ParameterUpdate update, MarsOptions o, double rate)
    {
        var adam = AdamDirection.Corrected(o, update.Step);
        var scaled = new ParameterUpdate(update.State, update.Gradient, rate);
        if (o.AmsGrad)
            scaled.Move(new AmsGradDirection(adam), Decay.Before(o.VectorDecay), update["exp_avg"], update["exp_avg_sq"], update["max_exp_avg_sq"]);
        else
            scaled.Move(adam, Decay.Before(o.VectorDecay), update["exp_avg"], update["exp_avg_sq"]);
    }

    /// <summary>g + scale · (g - g').</summary>
    private readonly struct Correction(float scale)
    {
        private readonly float scale = scale;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g, L last) where L : struct, ILane<L> => L.Fma(L.Splat(scale), g - last, g);
    }

    private readonly struct SquaresRule(Correction correction) : IMap3
    {
        private readonly Correction correction = correction;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L last, ref L sum) where L : struct, ILane<L>
        {
            L c = correction.Of(g, last);
            sum = c * c;
        }
    }

    /// <summary>1 / max(1, norm) in place of the sum of squares; NaN stays.</summary>
    private readonly struct ClipRule : IMap1
    {
        public static Access Access => Access.Of(Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L sum) where L : struct, ILane<L> => sum = L.Splat(1) / L.Max(L.Splat(1), L.Sqrt(sum));
    }

    // The rules of directions.

    private readonly struct AdamRule(Correction correction, AdamDirection adam) : IMap6
    {
        private readonly Correction correction = correction;
        private readonly AdamDirection adam = adam;

        public static Access Access => Access.Of(Slot.Write, Slot.Read, Slot.Update, Slot.Update, Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L g, ref L last, ref L m, ref L v, ref L clip) where L : struct, ILane<L>
        {
            u = adam.Of(correction.Of(g, last) * clip, ref m, ref v);
            last = g;
        }
    }

    private readonly struct AmsGradRule(Correction correction, AdamDirection adam) : IMap6
    {
        private readonly Correction correction = correction;
        private readonly AdamDirection adam = adam;

        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Update, Slot.Update, Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L last, ref L m, ref L v, ref L most, ref L clip) where L : struct, ILane<L>
        {
            adam.Average(correction.Of(g, last) * clip, ref m, ref v);
            most = L.Max(most, v);
            last = g;
        }
    }

    private readonly struct AmsGradStep(AdamDirection adam) : IMap3
    {
        private readonly AdamDirection adam = adam;

        public static Access Access => Access.Of(Slot.Write, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L m, ref L most) where L : struct, ILane<L> => u = adam.Of(m, most);
    }

    private readonly struct LionRule(Correction correction, float beta, float rest) : IMap5
    {
        private readonly Correction correction = correction;
        private readonly float beta = beta, rest = rest;

        public static Access Access => Access.Of(Slot.Write, Slot.Read, Slot.Update, Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L g, ref L last, ref L m, ref L clip) where L : struct, ILane<L>
        {
            L zero = L.Splat(0), one = L.Splat(1);
            m = L.Fma(L.Splat(beta), m, L.Splat(rest) * (correction.Of(g, last) * clip));
            last = g;

            // A NaN is neither below nor above zero; it stays.
            u = L.Select(L.Less(m, zero), -one, L.Select(L.Less(zero, m), one, m));
        }
    }

    private readonly struct CorrectRule(Correction correction) : IMap4
    {
        private readonly Correction correction = correction;

        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Write, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L last, ref L corrected, ref L clip) where L : struct, ILane<L>
        {
            corrected = correction.Of(g, last) * clip;
            last = g;
        }
    }
}
