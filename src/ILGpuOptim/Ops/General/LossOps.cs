using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Ops.Functions;

namespace ILGpuOptim.Ops;

/// <summary>The reduction of the losses of single elements or rows.</summary>
public enum LossReduction
{
    /// <summary>Their mean.</summary>
    Mean,

    /// <summary>Their sum.</summary>
    Sum,

    /// <summary>None: one loss for each element or row.</summary>
    None,
}

/// <summary>Element-wise losses against targets of the same shape, or of a shape that is broadcast to it.</summary>
public static class LossOps
{
    /// <summary>(x - target)².</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="target">The target; x's shape, or one that can be broadcast to it.</param>
    /// <param name="reduction">The reduction of the elements' losses.</param>
    /// <exception cref="ArgumentException">The target cannot be broadcast to the shape of x.</exception>
    public static Tensor MseLoss(this Tape tape, Tensor x, Tensor target, LossReduction reduction = LossReduction.Mean) =>
        tape.Loss("MseLoss", new SquaredError(), x, target, reduction);

    /// <summary>½ d² up to |d| = delta, beyond it delta · (|d| - ½ delta), with d = x - target (Huber, 1964).</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="target">The target; x's shape, or one that can be broadcast to it.</param>
    /// <param name="delta">The difference from which the loss is linear; positive.</param>
    /// <param name="reduction">The reduction of the elements' losses.</param>
    /// <exception cref="ArgumentException">The target cannot be broadcast to the shape of x, or delta is not positive.</exception>
    public static Tensor HuberLoss(this Tape tape, Tensor x, Tensor target, float delta = 1, LossReduction reduction = LossReduction.Mean)
    {
        if (!(delta > 0))
            throw new ArgumentOutOfRangeException(nameof(delta), delta, "HuberLoss: delta must be positive");
        return tape.Loss("HuberLoss", new HuberError(delta), x, target, reduction);
    }

    /// <summary>-target · ln σ(x) - (1 - target) · ln(1 - σ(x)) with the logistic function σ, computed without overflow.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="logits">x, any shape.</param>
    /// <param name="target">Probabilities in [0, 1].</param>
    /// <param name="reduction">The reduction of the elements' losses.</param>
    /// <exception cref="ArgumentException">The target cannot be broadcast to the shape of x.</exception>
    public static Tensor BinaryCrossEntropyWithLogits(this Tape tape, Tensor logits, Tensor target, LossReduction reduction = LossReduction.Mean) =>
        tape.Loss("BinaryCrossEntropyWithLogits", new LogisticError(), logits, target, reduction);

    /// <summary>target · (ln target - x): the Kullback–Leibler divergence of probabilities from those whose logarithms are x; 0 where the target is 0.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="logProbabilities">x, any shape.</param>
    /// <param name="target">Probabilities.</param>
    /// <param name="reduction">The reduction of the elements' losses. The divergence of a batch of distributions is the sum over the batch size.</param>
    /// <exception cref="ArgumentException">The target cannot be broadcast to the shape of x.</exception>
    public static Tensor KlDivergence(this Tape tape, Tensor logProbabilities, Tensor target, LossReduction reduction = LossReduction.Mean) =>
        tape.Loss("KlDivergence", new Divergence(), logProbabilities, target, reduction);

    private static Tensor Loss<F>(this Tape tape, string operation, F function, Tensor x, Tensor target, LossReduction reduction) where F : unmanaged, IFunction2
    {
        Shapes.NotNull(operation, x);
        Shapes.NotNull(operation, target);

        // A column of values against a row of targets would give a matrix of losses of all pairs, which is never meant.
        if (!Shapes.Broadcast(operation, x.Sizes(), target.Sizes()).AsSpan().SequenceEqual(x.Sizes()))
            throw new ArgumentException($"{operation}: a target of {target.Text()} cannot be broadcast to the shape {x.Text()} of the input; reshape one of them", nameof(target));
        Tensor losses = tape.Apply(operation, function, x, target);
        return reduction switch
        {
            LossReduction.Mean => tape.Mean(losses),
            LossReduction.Sum => tape.Sum(losses),
            LossReduction.None => losses,
            _ => throw new ArgumentOutOfRangeException(nameof(reduction), reduction, "there is no such reduction"),
        };
    }

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

    /// <summary>ln(1 + eˣ) - x · target.</summary>
    private readonly struct LogisticError : IFunction2
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Apply<L>(L x, L target) where L : struct, ILane<L> => new Softplus().Apply(x) - x * target;
    }

    private readonly struct Divergence : IFunction2
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Apply<L>(L x, L target) where L : struct, ILane<L> =>
            L.Select(L.Equal(target, L.Splat(0)), L.Splat(0), target * (L.Log(target) - x));
    }
}
