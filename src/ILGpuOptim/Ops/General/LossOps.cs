using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>What becomes of the losses of single elements or rows.</summary>
public enum LossReduction
{
    /// <summary>Their mean.</summary>
    Mean,

    /// <summary>Their sum.</summary>
    Sum,

    /// <summary>They stay as they are.</summary>
    None,
}

/// <summary>Losses of elements against targets of the same shape, or one that is broadcast to it.</summary>
public static class LossOps
{
    /// <summary>(x - target)².</summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="target">What x should be.</param>
    /// <param name="reduction">What becomes of the elements' losses.</param>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast.</exception>
    public static Tensor MseLoss(this Tape tape, Tensor x, Tensor target, LossReduction reduction = LossReduction.Mean) =>
        tape.Reduce(tape.Broadcast("MseLoss", new SquaredError(), x, target), reduction);

    /// <summary>½ d² up to |d| = delta, from there on delta · (|d| - ½ delta), with d = x - target (Huber, 1964).</summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="target">What x should be.</param>
    /// <param name="delta">Where the loss becomes linear, above 0.</param>
    /// <param name="reduction">What becomes of the elements' losses.</param>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast, or delta is not above 0.</exception>
    public static Tensor HuberLoss(this Tape tape, Tensor x, Tensor target, float delta = 1, LossReduction reduction = LossReduction.Mean)
    {
        if (!(delta > 0))
            throw new ArgumentOutOfRangeException(nameof(delta), delta, "HuberLoss: delta is above 0");
        return tape.Reduce(tape.Broadcast("HuberLoss", new HuberError(delta), x, target), reduction);
    }

    /// <summary>-target · ln σ(x) - (1 - target) · ln(1 - σ(x)) with the logistic function σ, computed without overflow.</summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="logits">x, any shape.</param>
    /// <param name="target">Probabilities in [0, 1].</param>
    /// <param name="reduction">What becomes of the elements' losses.</param>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast.</exception>
    public static Tensor BinaryCrossEntropyWithLogits(this Tape tape, Tensor logits, Tensor target, LossReduction reduction = LossReduction.Mean) =>
        tape.Reduce(tape.Broadcast("BinaryCrossEntropyWithLogits", new LogisticError(), logits, target), reduction);

    /// <summary>target · (ln target - x): the Kullback–Leibler divergence of probabilities from those whose logarithms are x; 0 where the target is 0.</summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="logProbabilities">x, any shape.</param>
    /// <param name="target">Probabilities.</param>
    /// <param name="reduction">What becomes of the elements' losses. The divergence of a batch of distributions is the sum over the batch size.</param>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast.</exception>
    public static Tensor KlDivergence(this Tape tape, Tensor logProbabilities, Tensor target, LossReduction reduction = LossReduction.Mean) =>
        tape.Reduce(tape.Broadcast("KlDivergence", new Divergence(), logProbabilities, target), reduction);

    private static Tensor Reduce(this Tape tape, Tensor losses, LossReduction reduction) => reduction switch
    {
        LossReduction.Mean => tape.Mean(losses),
        LossReduction.Sum => tape.Sum(losses),
        LossReduction.None => losses,
        _ => throw new ArgumentOutOfRangeException(nameof(reduction), reduction, "there is no such reduction"),
    };

    private readonly struct SquaredError : IFunction2
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Apply<L>(L x, L target) where L : struct, ILane<L> => (x - target) * (x - target);
    }

    private readonly struct HuberError(float delta) : IFunction2
    {
        private readonly float delta = delta;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Apply<L>(L x, L target) where L : struct, ILane<L>
        {
            L difference = x - target, size = L.Abs(difference), limit = L.Splat(delta), half = L.Splat(0.5f);
            return L.Select(L.Less(size, limit), half * difference * difference, limit * (size - half * limit));
        }
    }

    /// <summary>max(x, 0) - x · target + ln(1 + exp(-|x|)); the branches at x = 0 have derivatives that fit.</summary>
    private readonly struct LogisticError : IFunction2
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Apply<L>(L x, L target) where L : struct, ILane<L>
        {
            L isNegative = L.Less(x, L.Splat(0));
            return L.Select(isNegative, L.Splat(0), x) - x * target + L.Log(L.Splat(1) + L.Exp(L.Select(isNegative, x, -x)));
        }
    }

    private readonly struct Divergence : IFunction2
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Apply<L>(L x, L target) where L : struct, ILane<L> =>
            L.Select(L.Equal(target, L.Splat(0)), L.Splat(0), target * (L.Log(target) - x));
    }
}
