using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>
/// LAMB with caution: u · [u g > 0] / max(10⁻³, fraction of the elements that agree), before decay and the ratio. The fraction needs a
/// pass of its own, so the update is stored: 64 bytes a parameter.
/// </summary>
public sealed partial class Lamb
{
    private static void UpdateCautiously(in ParameterUpdate update, LambOptions o, Direction direction, RatioRule ratio, float penalty, float decay)
    {
        Device device = update.Device;
        Block change = device.Pool.Rent(update.Length), scalars = device.Pool.Rent(3), p = update.WeightValues;
        Operand agreeing = Operand.Scalar(scalars.Slice(0, 1));
        Block weights = scalars.Slice(1, 1), changes = scalars.Slice(2, 1);
        var moments = new CautiousMoments(direction, (float)o.Beta1, (float)(o.GradientAveraging ? 1 - o.Beta1 : 1), (float)o.Beta2, (float)(1 - o.Beta2));
        update.Map(moments, update.Gradient, update.StateValues("exp_avg"), update.StateValues("exp_avg_sq"), change, agreeing);
        update.Map(new CautiousNorms(1f / update.Length, penalty, decay), p, change, agreeing, Operand.Scalar(weights), Operand.Scalar(changes));
        device.Map(ratio, 1, 1, weights, changes);
        update.Map(new CautiousStep((float)update.LearningRate, decay), p, change, Operand.Scalar(weights));
        device.Pool.Return(change);
        device.Pool.Return(scalars);
    }

    /// <summary>Writes the elements of Adam's update that agree with the gradient, and counts them.</summary>
    private readonly struct CautiousMoments(Direction direction, float beta1, float rest1, float beta2, float rest2) : IMap5
    {
        private readonly Direction direction = direction;
        private readonly float beta1 = beta1, rest1 = rest1, beta2 = beta2, rest2 = rest2;

        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Update, Slot.Write, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L m, ref L v, ref L update, ref L agreeing) where L : struct, ILane<L>
        {
            L zero = L.Splat(0);
            m = L.Fma(L.Splat(beta1), m, L.Splat(rest1) * g);
            v = L.Fma(L.Splat(beta2), v, L.Splat(rest2) * g * g);
            L u = direction.Of(zero, m, v), mask = L.Less(zero, u * g);
            update = L.Select(mask, u, zero);
            agreeing = L.Select(mask, L.Splat(1), zero);
        }
    }

    /// <summary>Scales the remaining elements, adds decay, and sums squares.</summary>
    private readonly struct CautiousNorms(float perElement, float penalty, float decay) : IMap5
    {
        private readonly float perElement = perElement, penalty = penalty, decay = decay;

        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Read, Slot.Sum, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L update, ref L agreeing, ref L weights, ref L updates) where L : struct, ILane<L>
        {
            update = L.Fma(L.Splat(penalty), p, update / L.Max(L.Splat(1e-3f), agreeing * L.Splat(perElement)));
            weights = p * L.Splat(decay) * p * L.Splat(decay);
            updates = update * update;
        }
    }

    private readonly struct CautiousStep(float rate, float decay) : IMap3
    {
        private readonly float rate = rate, decay = decay;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L update, ref L ratio) where L : struct, ILane<L> =>
            p = p * L.Splat(decay) - L.Splat(rate) * (ratio * update);
    }
}
