using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Cross-entropy of given logits. <see cref="CrossEntropyOp"/> computes the logits of a linear head itself, in less memory.</summary>
public static class LogitsCrossEntropyOp
{
    /// <summary>
    /// For each row z of logits with target class t: ln Σⱼ exp zⱼ - (1 - ε) zₜ - ε mean z, with the label smoothing ε (Szegedy et al., 2016). Rows
    /// with the ignored target do not count.
    /// </summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="logits">…×classes.</param>
    /// <param name="targets">The class of each row, or the ignored one.</param>
    /// <param name="ignored">The target of rows that do not count.</param>
    /// <param name="labelSmoothing">ε in [0, 1]: the fraction of a target that is spread over all classes.</param>
    /// <param name="reduction">The mean is over the rows that count; NaN if none does.</param>
    /// <returns>A scalar, or the shape of the logits without the last axis, in which ignored rows are 0.</returns>
    /// <exception cref="ArgumentException">There is not one target for each row.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A target is no class, or the smoothing lies outside [0, 1].</exception>
    public static Tensor CrossEntropy(
        this Tape tape, Tensor logits, ReadOnlySpan<int> targets, int ignored = -100, float labelSmoothing = 0, LossReduction reduction = LossReduction.Mean)
    {
        if (logits.Shape.Count == 0)
            throw new ArgumentException("CrossEntropy: a scalar is not a row of logits", nameof(logits));
        int[] shape = logits.Sizes()[..^1];
        long rows = Shapes.Length(shape);
        int classes = logits.Columns;
        if (targets.Length != rows)
            throw new ArgumentException($"CrossEntropy: {targets.Length} targets for {rows} rows of logits {logits.Text()}", nameof(targets));
        if (!(labelSmoothing is >= 0 and <= 1))
            throw new ArgumentOutOfRangeException(nameof(labelSmoothing), labelSmoothing, "CrossEntropy: label smoothing lies in [0, 1]");
        var indices = new int[targets.Length];
        var counts = new float[targets.Length];
        int counted = 0;
        for (int i = 0; i < targets.Length; i++)
        {
            indices[i] = targets[i] == ignored ? -1 : targets[i];
            if (targets[i] != ignored && (targets[i] < 0 || targets[i] >= classes))
                throw new ArgumentOutOfRangeException(nameof(targets), targets[i], $"CrossEntropy: target {targets[i]} of row {i} is neither one of {classes} classes nor the ignored target {ignored}");
            counts[i] = targets[i] == ignored ? 0 : 1;
            counted += targets[i] == ignored ? 0 : 1;
        }

        logits = tape.Wide(logits);
        Tensor losses = tape.Output(shape, logits);
        Block places = tape.Indices(indices), weights = tape.Values(counts), logSums = tape.Scratch(rows);
        if (rows > 0)
        {
            Block picked = tape.Scratch(rows), mean = tape.Scratch(rows);
            tape.Device.RowProgram(new SoftmaxRows<LogSumExpRule>(), rows, classes, [logits.Data, Operand.PerRow(logSums)]);
            tape.Device.Pick(logits.Data, places, picked, classes);
            if (labelSmoothing > 0)
                tape.Device.Map(new ScaledTotalRule(1f / classes), rows, classes, logits.Data, Operand.PerRow(mean));
            else
                tape.Device.Fill(mean, 0);
            tape.Device.Map(new LossRule(labelSmoothing), 1, rows, logSums, picked, mean, weights, losses.Data);
            tape.Release(picked);
            tape.Release(mean);
        }

        tape.Record(new Gradient(losses, logits, places, weights, logSums, labelSmoothing));
        return reduction switch
        {
            LossReduction.None => losses,
            LossReduction.Sum => tape.Sum(losses),
            LossReduction.Mean => tape.Affine(tape.Sum(losses), 1f / counted),
            _ => throw new ArgumentOutOfRangeException(nameof(reduction), reduction, "there is no such reduction"),
        };
    }

    private sealed class Gradient(Tensor output, Tensor logits, Block places, Block weights, Block logSums, float smoothing) : Operation(output, logits)
    {
        public override void Backward(Tape tape)
        {
            long rows = Output.Length;
            int classes = logits.Columns;
            if (rows == 0)
                return;

            // The factor of each row, and the extra gradient of the target's logit.
            Block factors = tape.Scratch(rows), atTargets = tape.Scratch(rows);
            tape.Device.Map(new FactorRule(smoothing - 1), 1, rows, weights, Output.Gradient!.Value, factors, atTargets);
            Operand target = tape.GradientTarget(logits);
            tape.Device.Map(new GradientRule(smoothing / classes), rows, classes, logits.Data, Operand.PerRow(logSums), Operand.PerRow(factors), target);
            tape.Device.AddAt(target.Block, places, atTargets, classes);
            tape.Release(factors);
            tape.Release(atTargets);
        }
    }

    /// <summary>log-sum-exp - (1 - ε) · picked - ε · mean; ignored rows are 0 even where they are not finite. Without smoothing the mean does not count.</summary>
    private readonly struct LossRule(float smoothing) : IMap5
    {
        private readonly float smoothing = smoothing;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L logSum, ref L picked, ref L mean, ref L weight, ref L loss) where L : struct, ILane<L> =>
            loss = L.Select(L.Equal(weight, L.Splat(0)), L.Splat(0), logSum - L.Splat(1 - smoothing) * picked - L.Splat(smoothing) * mean);
    }

    private readonly struct FactorRule(float atTarget) : IMap4
    {
        private readonly float atTarget = atTarget;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L weight, ref L gradient, ref L factor, ref L target) where L : struct, ILane<L>
        {
            factor = L.Select(L.Equal(weight, L.Splat(0)), L.Splat(0), gradient);
            target = L.Splat(atTarget) * factor;
        }
    }

    /// <summary>factor · (softmax - ε / classes); 0 in ignored rows.</summary>
    private readonly struct GradientRule(float share) : IMap4
    {
        private readonly float share = share;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L logit, ref L logSum, ref L factor, ref L target) where L : struct, ILane<L> =>
            target = L.Select(L.Equal(factor, L.Splat(0)), L.Splat(0), factor * (L.Exp(logit - logSum) - L.Splat(share)));
    }
}
