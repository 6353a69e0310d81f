using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Cross-entropy of a linear head, without ever holding all logits of a large batch.</summary>
public static class CrossEntropyOp
{
    /// <summary>Logits up to this many numbers are kept for the backward pass; beyond it they are computed again, chunk by chunk.</summary>
    public const long MostKeptLogits = 1 << 25;

    /// <summary>Chunks of more rows have a multiple of this, so that products are cut into whole tiles.</summary>
    private const int ChunkRows = 128;

    /// <summary>
    /// Σᵢ weightᵢ · (ln Σⱼ exp zᵢⱼ - zᵢ,targetᵢ) with the logits z = x · headᵀ + bias, or cap · tanh(z / cap). Rows with a negative target count nothing.
    /// </summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="x">n × c.</param>
    /// <param name="head">vocabulary × c.</param>
    /// <param name="bias">vocabulary, or null.</param>
    /// <param name="targets">n classes; negative ones are ignored.</param>
    /// <param name="scale">What the mean over the counted rows is multiplied by, for accumulation over several batches.</param>
    /// <param name="softCap">The cap of the logits; 0: none.</param>
    /// <param name="mostKept">See <see cref="MostKeptLogits"/>.</param>
    /// <returns>A scalar: the scaled mean, 0 when no row counts.</returns>
    public static Tensor CrossEntropy(this Tape tape, Tensor x, Tensor head, Tensor? bias, ReadOnlySpan<int> targets, float scale = 1, float softCap = 0, long mostKept = MostKeptLogits)
    {
        int rows = x.Rows, vocabulary = head.Shape[0];
        if (targets.Length != rows)
            throw new ArgumentException($"{targets.Length} targets for {rows} rows", nameof(targets));
        int counted = 0;
        foreach (int target in targets)
        {
            if (target >= vocabulary)
                throw new ArgumentOutOfRangeException(nameof(targets), target, $"a target lies outside the vocabulary of {vocabulary}");
            counted += target >= 0 ? 1 : 0;
        }

        var rowWeights = new float[rows];
        for (int i = 0; i < rows; i++)
            rowWeights[i] = targets[i] >= 0 ? scale / counted : 0;
        Tensor output = tape.Output([1], x, head, bias);
        output.IsKept = true;
        Block indices = tape.Indices(targets), weights = tape.Numbers(rowWeights);
        Block logSums = tape.Scratch(rows), picked = tape.Scratch(rows);
        int stride = Stride(vocabulary), chunk = (int)Math.Clamp(tape.Device.ChunkLength / Math.Max(1, vocabulary), 1, Math.Max(1, rows));
        if (chunk > ChunkRows && chunk < rows)
            chunk -= chunk % ChunkRows;
        bool keep = output.RequiresGradient && (long)rows * vocabulary <= mostKept;
        if (keep)
            chunk = Math.Max(1, rows);
        Block logits = tape.Scratch((long)chunk * stride);
        for (int first = 0; first < rows; first += chunk)
        {
            int count = Math.Min(chunk, rows - first);
            Logits(tape.Device, x, head, bias, logits, first, count, softCap);
            Block targetsHere = indices.Slice(first, count), weightsHere = weights.Slice(first, count), sums = logSums.Slice(first, count);
            tape.Device.Pick(logits, targetsHere, picked.Slice(first, count), stride);
            if (keep)
                tape.Device.RowProgram(new LogSumExpAndSlope(PerCap(softCap)), count, vocabulary, [new Operand(logits, Stride: stride), Operand.PerRow(weightsHere), Operand.PerRow(sums)]);
            else
                tape.Device.RowProgram(new LogSumExp(), count, vocabulary, [new Operand(logits, Stride: stride), Operand.PerRow(sums)]);
        }

        tape.Device.Map(new LossRule(), 1, rows, logSums, picked, weights, Operand.Scalar(output.Data));
        if (!keep)
            tape.Release(logits);
        tape.Record(new Gradient(output, x, head, bias, indices, weights, logSums, picked, keep ? logits : null, chunk, softCap));
        return output;
    }

    /// <summary>From one row of logits to the next: a multiple of four, so that GPUs can move them in fours.</summary>
    private static int Stride(int vocabulary) => (vocabulary + 3) / 4 * 4;

    private static void Logits(Device device, Tensor x, Tensor head, Tensor? bias, Block target, int first, int count, float softCap)
    {
        int vocabulary = head.Shape[0];
        var product = new GemmArguments(x.Data.Slice((long)first * x.Columns, (long)count * x.Columns), head.Data, target, count, vocabulary, x.Columns) { TransposeB = true, StrideC = Stride(vocabulary) };
        if (bias is null)
            device.Gemm(product);
        else
            device.Gemm(product, new AddRule(), Operand.PerColumn(bias.Data));
        if (softCap != 0)
            device.Map(new CapRule(softCap), count, vocabulary, new Operand(target, Stride: Stride(vocabulary)));
    }

    /// <summary>What a capped logit is multiplied by within the derivative of the cap; 0 without a cap, whose derivative then is one.</summary>
    private static float PerCap(float softCap) => softCap == 0 ? 0 : 1 / softCap;

    private sealed class Gradient(
        Tensor output, Tensor x, Tensor head, Tensor? bias, Block indices, Block weights, Block logSums, Block picked, Block? kept, int chunk, float softCap)
        : Operation(output, x, head, bias)
    {
        public override void Backward(Tape tape)
        {
            Device device = tape.Device;
            int rows = x.Rows, vocabulary = head.Shape[0], stride = Stride(vocabulary), columns = x.Columns;
            Block slopes = kept ?? tape.Scratch((long)chunk * stride);
            Block negative = tape.Scratch(rows);
            device.Map(new TargetRule(PerCap(softCap)), 1, rows, weights, picked, negative);
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
                    Logits(device, x, head, bias, slopes, first, count, softCap);
                    device.Map(new SlopeRule(PerCap(softCap)), count, vocabulary, new Operand(slopes, Stride: stride), Operand.PerRow(logSums.Slice(first, count)), Operand.PerRow(weights.Slice(first, count)));
                }

                device.AddAt(slopes, indices.Slice(first, count), negative.Slice(first, count), stride);
                if (head.RequiresGradient)
                {
                    device.Gemm(new GemmArguments(slopes, x.Data.Slice((long)first * columns, (long)count * columns), headTarget, vocabulary, columns, count)
                    {
                        TransposeA = true,
                        StrideA = stride,
                        Beta = first == 0 ? headBeta : 1,
                    });
                }

                if (x.RequiresGradient)
                    device.Gemm(new GemmArguments(slopes, head.Data, xTarget.Slice((long)first * columns, (long)count * columns), count, columns, vocabulary) { StrideA = stride, Beta = xBeta });
                if (bias is { RequiresGradient: true })
                    device.Map(new TotalRule(), count, vocabulary, new Operand(slopes, Stride: stride), Operand.PerColumn(biasTarget) with { Accumulate = first > 0 || biasBeta != 0 });
            }

            tape.Release(slopes);
        }
    }

    /// <summary>Σ weight · (log-sum-exp - picked logit); rows of weight 0 count nothing even where they are not finite.</summary>
    private readonly struct LossRule : IMap4
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L logSum, ref L picked, ref L weight, ref L loss) where L : struct, ILane<L> =>
            loss = L.Select(L.Equal(weight, L.Splat(0)), L.Splat(0), weight * (logSum - picked));
    }

    /// <summary>cap · tanh(logit / cap).</summary>
    private readonly struct CapRule(float cap) : IMap1
    {
        private readonly float cap = cap;

        public static Access Access => Access.Of(Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L logit) where L : struct, ILane<L> => logit = L.Splat(cap) * L.Tanh(logit / L.Splat(cap));
    }

    /// <summary>-weight · cap'(logit): the target's own part of the gradient of its logit. The derivative of the cap is 1 - (capped / cap)².</summary>
    private readonly struct TargetRule(float perCap) : IMap3
    {
        private readonly float perCap = perCap;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L weight, ref L picked, ref L result) where L : struct, ILane<L>
        {
            L part = picked * L.Splat(perCap);
            result = L.Select(L.Equal(weight, L.Splat(0)), L.Splat(0), -weight * (L.Splat(1) - part * part));
        }
    }

    /// <summary>weight · exp(logit - log-sum-exp) · cap'(logit): the gradient of the log-sum-exp.</summary>
    private readonly struct SlopeRule(float perCap) : IMap3
    {
        private readonly float perCap = perCap;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L logit, ref L logSum, ref L weight) where L : struct, ILane<L> =>
            logit = weight * L.Exp(logit - logSum) * (L.Splat(1) - logit * L.Splat(perCap) * (logit * L.Splat(perCap)));
    }

    private readonly struct LogSumExp : IRowRule
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Write);

        public static bool FirstIsMax => true;

        public static bool HasSecond => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L FirstTerm<L>(L logit, L b, L c, L d, L e, L f) where L : struct, ILane<L> => logit;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L First<L>(L total) where L : struct, ILane<L> => total;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L SecondTerm<L>(L largest, L logit, L b, L c, L d, L e, L f) where L : struct, ILane<L> => L.Exp(logit - largest);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Second<L>(L largest, L total) where L : struct, ILane<L> => largest + L.Log(total);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Map<L>(L largest, L logSum, ref L logit, ref L result, ref L c, ref L d, ref L e, ref L f) where L : struct, ILane<L> =>
            result = logSum;
    }

    /// <summary>The log-sum-exp of each row, whose logits become its weighted gradient.</summary>
    private readonly struct LogSumExpAndSlope(float perCap) : IRowRule
    {
        private readonly float perCap = perCap;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Write);

        public static bool FirstIsMax => true;

        public static bool HasSecond => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L FirstTerm<L>(L logit, L weight, L c, L d, L e, L f) where L : struct, ILane<L> => logit;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L First<L>(L total) where L : struct, ILane<L> => total;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L SecondTerm<L>(L largest, L logit, L weight, L c, L d, L e, L f) where L : struct, ILane<L> => L.Exp(logit - largest);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Second<L>(L largest, L total) where L : struct, ILane<L> => largest + L.Log(total);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Map<L>(L largest, L logSum, ref L logit, ref L weight, ref L result, ref L d, ref L e, ref L f) where L : struct, ILane<L>
        {
            L part = logit * L.Splat(perCap);
            logit = weight * L.Exp(logit - logSum) * (L.Splat(1) - part * part);
            result = logSum;
        }
    }
}
