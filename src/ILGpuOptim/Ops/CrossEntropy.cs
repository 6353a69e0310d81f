using System.Buffers;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Cross-entropy of a linear head, without ever holding all logits of a large batch.</summary>
public static class CrossEntropyOp
{
    /// <summary>The largest number of logits that are kept for the backward pass; more are computed again, chunk by chunk.</summary>
    public const long MaxKeptLogits = 1 << 26;

    /// <summary>Longer chunks are cut to a multiple of this, so that products consist of whole tiles.</summary>
    private const int ChunkRows = 128;

    /// <summary>
    /// The mean over rows of ln Σⱼ exp zⱼ - (1 - ε) z_target - ε mean z, with the logits z = cap · tanh(l / cap) (or l without a cap), l = logitScale ·
    /// (x · headᵀ + bias), and the label smoothing ε (Szegedy et al., 2016). Rows with a negative target are ignored.
    /// </summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">… × c, n rows in all.</param>
    /// <param name="head">vocabulary × c.</param>
    /// <param name="bias">vocabulary, or null.</param>
    /// <param name="targets">n classes; negative ones are ignored.</param>
    /// <param name="scale">Multiplies the mean over the counted rows, for accumulation over several batches.</param>
    /// <param name="softCap">The cap of the logits; 0: none.</param>
    /// <param name="mostKept">See <see cref="MaxKeptLogits"/>.</param>
    /// <param name="labelSmoothing">ε in [0, 1]: the fraction of a target that is spread over all classes.</param>
    /// <param name="logitScale">Multiplies the logits.</param>
    /// <returns>A scalar: the scaled mean, 0 when no row counts.</returns>
    /// <exception cref="ArgumentException">The sizes do not fit.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A target is no class, or a setting lies outside its range.</exception>
    public static Tensor CrossEntropy(
        this Tape tape, Tensor x, Tensor head, Tensor? bias, ReadOnlySpan<int> targets, float scale = 1, float softCap = 0, long mostKept = MaxKeptLogits,
        float labelSmoothing = 0, float logitScale = 1) =>
        tape.CrossEntropy(x, head, bias, targets, scale, softCap, mostKept, labelSmoothing, logitScale, LossReduction.Mean);

    /// <summary>
    /// The loss of each row, ln Σⱼ exp zⱼ - z_target, with the logits z as for the mean: the negative log-probability of its target. Rows with a negative target
    /// have the loss 0. The backward pass computes the logits again, chunk by chunk.
    /// </summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">… × c, n rows in all.</param>
    /// <param name="head">vocabulary × c.</param>
    /// <param name="bias">vocabulary, or null.</param>
    /// <param name="targets">n classes; negative ones are ignored.</param>
    /// <param name="softCap">The cap of the logits; 0: none.</param>
    /// <param name="logitScale">Multiplies the logits.</param>
    /// <returns>n losses in f32.</returns>
    /// <exception cref="ArgumentException">The sizes do not fit.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A target is no class, or a setting lies outside its range.</exception>
    public static Tensor TokenLosses(this Tape tape, Tensor x, Tensor head, Tensor? bias, ReadOnlySpan<int> targets, float softCap = 0, float logitScale = 1) =>
        tape.CrossEntropy(x, head, bias, targets, 1, softCap, 0, 0, logitScale, LossReduction.None);

    private static Tensor CrossEntropy(
        this Tape tape, Tensor x, Tensor head, Tensor? bias, ReadOnlySpan<int> targets, float scale, float softCap, long mostKept, float labelSmoothing, float logitScale,
        LossReduction reduction)
    {
        int rows = x.Rows, vocabulary = ProductShape.Outputs("CrossEntropy", x, head, bias, transposed: true);
        if (targets.Length != rows)
            throw new ArgumentException($"CrossEntropy: {targets.Length} targets for the {rows} rows of {x}", nameof(targets));
        Scalars.Finite("CrossEntropy", scale, head);
        Scalars.Finite("CrossEntropy", logitScale, head);
        Scalars.AtLeast("CrossEntropy", 0, mostKept);
        if (!(labelSmoothing is >= 0 and <= 1))
            throw new ArgumentOutOfRangeException(nameof(labelSmoothing), labelSmoothing, "CrossEntropy: label smoothing lies in [0, 1]");
        Scalars.NotNegative("CrossEntropy", softCap, head);
        int counted = 0;
        foreach (int target in targets)
        {
            if (target >= vocabulary)
                throw new ArgumentOutOfRangeException(nameof(targets), target, $"CrossEntropy: a target lies outside the vocabulary of {vocabulary}");
            counted += target >= 0 ? 1 : 0;
        }

        bool isMean = reduction == LossReduction.Mean;
        Tensor output = tape.Output(isMean ? [] : [rows], x, head, bias);
        output.IsKept = true;
        x = tape.Floats(x);
        var logitsOf = new HeadLogits(x, head, bias, logitScale, softCap) { Precision = tape.Precision };
        Block indices = tape.Indices(targets), weights = Weights(tape, targets, isMean ? scale / counted : 1);
        Block logSums = tape.Scratch(rows), picked = tape.Scratch(rows);
        Block? means = labelSmoothing > 0 ? tape.Scratch(rows) : null;
        int stride = HeadLogits.Stride(vocabulary), chunk = (int)Math.Clamp(tape.Device.ChunkLength / Math.Max(1, vocabulary), 1, Math.Max(1, rows));
        if (chunk > ChunkRows && chunk < rows)
            chunk -= chunk % ChunkRows;
        bool keep = output.RequiresGradient && (long)rows * vocabulary <= mostKept;
        if (keep)
            chunk = Math.Max(1, rows);
        var rule = new LogitGradientRule(labelSmoothing / Math.Max(1, vocabulary), logitsOf.PerCap);
        Block logits = tape.Scratch((long)chunk * stride, tape.ActivationType);
        for (int first = 0; first < rows; first += chunk)
        {
            int count = Math.Min(chunk, rows - first);
            logitsOf.Compute(tape.Device, logits, first, count);
            Block targetsHere = indices.Slice(first, count), weightsHere = weights.Slice(first, count), sums = logSums.Slice(first, count);
            tape.Device.Pick(logits, targetsHere, picked.Slice(first, count), stride);
            if (means is { } mean)
                tape.Device.Map(new ScaledTotalRule(1f / vocabulary), count, vocabulary, new Operand(logits, Stride: stride), Operand.PerRow(mean.Slice(first, count)));
            if (keep)
                tape.Device.RowProgram(new SoftmaxRows<LogSumExpAndGradient>(new(rule)), count, vocabulary, [new Operand(logits, Stride: stride), Operand.PerRow(weightsHere), Operand.PerRow(sums)]);
            else
                tape.Device.RowProgram(new SoftmaxRows<LogSumExpRule>(), count, vocabulary, [new Operand(logits, Stride: stride), Operand.PerRow(sums)]);
        }

        if (means is { } smooth)
            tape.Device.Map(new SmoothLossRule(labelSmoothing), 1, rows, logSums, picked, smooth, weights, Operand.Scalar(output.Data));
        else if (isMean)
            tape.Device.Map(new LossRule(), 1, rows, logSums, picked, weights, Operand.Scalar(output.Data));
        else
            tape.Device.Map(new RowLossRule(), 1, rows, logSums, picked, weights, output.Data);
        if (!keep)
            tape.Release(logits);
        if (means is { } unneeded)
            tape.Release(unneeded);
        if (!output.RequiresGradient)
            Release(tape, picked, logSums, weights, indices);
        tape.Record(new Gradient(output, logitsOf, indices, weights, logSums, picked, keep ? logits : null, chunk, rule, labelSmoothing));
        return output;
    }

    /// <summary>The weight of each row whose target counts, and 0 for the others.</summary>
    private static Block Weights(Tape tape, ReadOnlySpan<int> targets, float weight)
    {
        float[] values = ArrayPool<float>.Shared.Rent(targets.Length);
        for (int i = 0; i < targets.Length; i++)
            values[i] = targets[i] >= 0 ? weight : 0;
        Block weights = tape.Values(values.AsSpan(0, targets.Length));
        ArrayPool<float>.Shared.Return(values);
        return weights;
    }

    private static void Release(Tape tape, params ReadOnlySpan<Block> blocks)
    {
        foreach (Block block in blocks)
            tape.Release(block);
    }

    private sealed class Gradient(
        Tensor output, HeadLogits logitsOf, Block indices, Block weights, Block logSums, Block picked, Block? kept, int chunk, LogitGradientRule rule, float smoothing)
        : Operation(output, logitsOf.X, logitsOf.Head, logitsOf.Bias)
    {
        public override void Backward(Tape tape)
        {
            Device device = tape.Device;
            (Tensor x, Tensor head, Tensor? bias, float logitScale) = (logitsOf.X, logitsOf.Head, logitsOf.Bias, logitsOf.Scale);
            int rows = x.Rows, vocabulary = head.Shape[0], stride = HeadLogits.Stride(vocabulary), columns = x.Columns;
            Block gradients = kept ?? tape.Scratch((long)chunk * stride, tape.ActivationType), rowWeights = weights;

            // The kept logits became gradients of a loss whose own gradient is one, as where a backward pass begins.
            if (!Output.HasUnitGradient)
            {
                rowWeights = tape.Scratch(rows);
                Block gradient = Output.Gradient!.Value;
                device.Map(new ProductRule(), 1, rows, weights, Output.Shape.Count == 0 ? Operand.Scalar(gradient) : gradient, rowWeights);
                if (kept is not null)
                    device.Map(new ScaleByRule(), rows, vocabulary, new Operand(gradients, Stride: stride), Operand.Scalar(gradient));
            }

            Block negative = tape.Scratch(rows);
            device.Map(new TargetRule(smoothing, logitsOf.PerCap), 1, rows, rowWeights, picked, negative);
            Block xTarget = default, headTarget = default, biasTarget = default;
            float xBeta = 0, headBeta = 0, biasBeta = 0;
            if (x.RequiresGradient)
                xTarget = tape.GradientOf(x, out xBeta);
            if (head.RequiresGradient)
                headTarget = tape.GradientOf(head, out headBeta);
            if (bias is { RequiresGradient: true })
                biasTarget = tape.GradientOf(bias, out biasBeta);
            for (int first = 0; first < rows; first += chunk)
            {
                int count = Math.Min(chunk, rows - first);
                if (kept is null)
                {
                    logitsOf.Compute(device, gradients, first, count);
                    device.Map(rule, count, vocabulary, new Operand(gradients, Stride: stride), Operand.PerRow(logSums.Slice(first, count)), Operand.PerRow(rowWeights.Slice(first, count)));
                }

                device.AddAt(gradients, indices.Slice(first, count), negative.Slice(first, count), stride);
                if (head.RequiresGradient)
                {
                    device.Gemm(tape.Product(gradients, x.Data.Slice((long)first * columns, (long)count * columns), headTarget, vocabulary, columns, count) with
                    {
                        TransposeA = true,
                        StrideA = stride,
                        Alpha = logitScale,
                        Beta = first == 0 ? headBeta : 1,
                    });
                }

                if (x.RequiresGradient)
                {
                    device.Gemm(tape.Product(gradients, head.Data, xTarget.Slice((long)first * columns, (long)count * columns), count, columns, vocabulary) with
                    {
                        StrideA = stride,
                        Alpha = logitScale,
                        Beta = xBeta,
                    });
                }

                if (bias is { RequiresGradient: true })
                    device.Map(new ScaledTotalRule(logitScale), count, vocabulary, new Operand(gradients, Stride: stride), Operand.PerColumn(biasTarget) with { Accumulate = first > 0 || biasBeta != 0 });
            }

            Release(tape, negative, rowWeights, gradients, picked, logSums, weights, indices);
        }
    }

    /// <summary>Σ weight · (log-sum-exp - picked logit); rows of weight 0 add nothing, even where they are not finite.</summary>
    private readonly struct LossRule : IMap4
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L logSum, ref L picked, ref L weight, ref L loss) where L : struct, ILane<L> =>
            loss = L.Select(L.Equal(weight, L.Splat(0)), L.Splat(0), weight * (logSum - picked));
    }

    /// <summary>As <see cref="LossRule"/>, a loss for each row instead of their sum.</summary>
    private readonly struct RowLossRule : IMap4
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L logSum, ref L picked, ref L weight, ref L loss) where L : struct, ILane<L> => new LossRule().Apply(ref logSum, ref picked, ref weight, ref loss);
    }

    /// <summary>As <see cref="LossRule"/>, with (1 - ε) · picked + ε · mean in place of the picked logit.</summary>
    private readonly struct SmoothLossRule(float smoothing) : IMap5
    {
        private readonly float smoothing = smoothing;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L logSum, ref L picked, ref L mean, ref L weight, ref L loss) where L : struct, ILane<L> =>
            loss = L.Select(L.Equal(weight, L.Splat(0)), L.Splat(0), weight * (logSum - L.Splat(1 - smoothing) * picked - L.Splat(smoothing) * mean));
    }

    /// <summary>-weight · (1 - ε) · cap'(logit): the target's share of the gradient of its logit. The derivative of the cap is 1 - (capped / cap)².</summary>
    private readonly struct TargetRule(float smoothing, float perCap) : IMap3
    {
        private readonly float smoothing = smoothing;
        private readonly float perCap = perCap;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L weight, ref L picked, ref L result) where L : struct, ILane<L>
        {
            result = -weight * L.Splat(1 - smoothing);
            if (perCap == 0)
                return;
            L ratio = picked * L.Splat(perCap);
            result = L.Select(L.Equal(weight, L.Splat(0)), L.Splat(0), result * (L.Splat(1) - ratio * ratio));
        }
    }

    /// <summary>weight · (exp(logit - log-sum-exp) - ε / vocabulary) · cap'(logit): the gradient without the target's share.</summary>
    private readonly struct LogitGradientRule(float share, float perCap) : IMap3
    {
        private readonly float share = share;
        private readonly float perCap = perCap;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L logit, ref L logSum, ref L weight) where L : struct, ILane<L>
        {
            // Without a cap nothing is multiplied by logits, which may be infinite.
            L ratio = perCap == 0 ? L.Splat(0) : logit * L.Splat(perCap);
            logit = weight * (L.Exp(logit - logSum) - L.Splat(share)) * (L.Splat(1) - ratio * ratio);
        }
    }

    /// <summary>The log-sum-exp of each row, whose logits become its weighted gradient.</summary>
    private readonly struct LogSumExpAndGradient(LogitGradientRule rule) : ISoftmaxRule
    {
        private readonly LogitGradientRule rule = rule;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L OfSum<L>(L largest, L sum) where L : struct, ILane<L> => SoftmaxRows.LogSumExp(largest, sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Map<L>(L largest, L logSum, ref L logit, ref L weight, ref L result) where L : struct, ILane<L>
        {
            rule.Apply(ref logit, ref logSum, ref weight);
            result = logSum;
        }
    }
}
