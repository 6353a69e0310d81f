using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="AdafactorRelative"/>.</summary>
public sealed record AdafactorRelativeOptions : OptimizerOptions
{
    /// <summary>The second moment's decay is 1 - t to this power.</summary>
    [Description("the decay rate of the second moment is 1 - t to this power")]
    [Range(double.NegativeInfinity, 0)]
    public double DecayRate { get; init; } = -0.8;

    /// <summary>Added to squared gradients.</summary>
    [Description("term added to squared gradients")]
    [Range(0, MinimumIsExclusive = true)]
    public double Epsilon1 { get; init; } = 1e-30;

    /// <summary>The lower bound of the parameter's root mean square in relative steps.</summary>
    [Description("lower bound of the parameter's root mean square in relative steps")]
    [Range(0, MinimumIsExclusive = true)]
    public double Epsilon2 { get; init; } = 1e-3;

    /// <summary>The root mean square above which an update is scaled down.</summary>
    [Description("root mean square above which an update is scaled down")]
    [Range(0, MinimumIsExclusive = true)]
    public double ClipThreshold { get; init; } = 1;

    /// <summary>Decay of a running mean of updates; null disables it.</summary>
    [Description("decay rate of a running mean of updates; off by default")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double? Beta1 { get; init; }

    /// <summary>Makes steps relative to the parameter's root mean square.</summary>
    [Description("scales steps by the root mean square of the parameter")]
    public bool ScaleParameter { get; init; } = true;

    /// <summary>The step is min(10⁻², 1/√t) instead of the learning rate.</summary>
    [Description("takes min(10⁻², 1/√t) in place of the learning rate")]
    public bool RelativeStep { get; init; } = true;

    /// <summary>The relative step begins at 10⁻⁶ t.</summary>
    [Description("begins the relative step at 10⁻⁶ t")]
    public bool WarmupInit { get; init; }
}

/// <summary>
/// Adafactor (Shazeer and Stern, ICML 2018) in the form of fairseq and Hugging Face: u = g / √V with V the factored
/// moment of g² + ε₁; u is clipped, multiplied by the step ρ · max(ε₂, RMS(p)), averaged when β₁ is set, and
/// p -= decay · step · p + u.
/// </summary>
/// <remarks>
/// Three passes, 24 bytes a parameter (32 with momentum). State 4(m + n) bytes for a matrix, 4n for a vector, and 4mn
/// with momentum.
/// </remarks>
public sealed class AdafactorRelative : Optimizer<AdafactorRelativeOptions>
{
    /// <inheritdoc/>
    public override string Name => "adafactor-relative";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, AdafactorRelativeOptions o)
    {
        if (o.WarmupInit && !o.RelativeStep)
            throw new UserException("a warm-up from 10⁻⁶ needs the relative step");
        List<StateTensor> state = shape.Count < 2
            ? [StateTensor.NonNegative("exp_avg_sq", shape)]
            : [new("exp_avg_sq_row", [.. shape.SkipLast(1)]), new("exp_avg_sq_col", [.. shape.SkipLast(2), shape[^1]])];
        if (o.Beta1 is not null)
            state.Add(StateTensor.Signed("exp_avg", shape));
        return state;
    }

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, AdafactorRelativeOptions o)
    {
        Device device = update.Device;
        Block values = update.WeightValues;
        double relative = Math.Min(o.WarmupInit ? 1e-6 * update.Step : 1e-2, 1 / Math.Sqrt(update.Step));
        double rho = o.RelativeStep ? relative * LearningRateFactor : update.LearningRate, beta2 = 1 - Math.Pow(update.Step, o.DecayRate);
        var (batch, m, n) = Matrices(update.Shape);
        long length = (long)m * n;
        MemoryPool pool = device.Pool;
        bool vector = update.Shape.Count < 2;
        Block scalars = pool.Rent(5 + 2L * batch), weights = scalars.Slice(0, 1), squares = scalars.Slice(1, 1), step = scalars.Slice(2, 1), decay = scalars.Slice(3, 1), total = scalars.Slice(4, 1);
        Block weightParts = scalars.Slice(5, batch), squareParts = scalars.Slice(5 + batch, batch);
        Block sums = pool.Rent(m + n), rowFactors = pool.Rent((long)batch * m), columnFactors = pool.Rent((long)batch * n);
        for (int b = 0; b < batch; b++)
        {
            Operand g = update.Gradient.Slice(b * length, length);
            Block data = values.Slice(b * length, length);
            if (vector)
            {
                device.Map(new VectorMoment((float)beta2, (float)(1 - beta2), (float)o.Epsilon1), 1, n, g, data, update.StateValues("exp_avg_sq"), Operand.Scalar(weightParts), Operand.Scalar(squareParts));
                continue;
            }

            Block rows = update.StateValues("exp_avg_sq_row").Slice((long)b * m, m), columns = update.StateValues("exp_avg_sq_col").Slice((long)b * n, n);
            Block rowFactor = rowFactors.Slice((long)b * m, m), columnFactor = columnFactors.Slice((long)b * n, n);
            device.Map(new Adafactor.Squares((float)o.Epsilon1), m, n, g, data, Operand.RowsAndColumns(sums), Operand.Scalar(weightParts.Slice(b, 1)));
            Factored.Accumulate(device, sums, rows, columns, beta2, 1 - beta2);
            Factored.Factors(device, rows, columns, rowFactor, columnFactor, total);
            device.Map(new Factored.ScaledSquares(), m, n, g, Operand.PerRow(rowFactor), Operand.PerColumn(columnFactor), Operand.Scalar(squareParts.Slice(b, 1)));
        }

        device.Map(new TotalRule(), 1, batch, weightParts, Operand.Scalar(weights));
        device.Map(new TotalRule(), 1, batch, squareParts, Operand.Scalar(squares));
        var size = new StepSize(1f / update.Length, (float)o.Epsilon2, (float)rho, (float)o.ClipThreshold, o.ScaleParameter, (float)o.WeightDecay);
        if (update.State.Parts.ChangesMove)
        {
            Move(update, o, size, (weights, squares, step, decay), rowFactors, columnFactors);
            foreach (Block block in (ReadOnlySpan<Block>)[scalars, sums, rowFactors, columnFactors])
                pool.Return(block);
            return;
        }

        device.Map(size, 1, 1, weights, squares, step, decay);
        Block momentum = o.Beta1 is null ? default : update.StateValues("exp_avg");
        float beta1 = (float)(o.Beta1 ?? 0), rest1 = (float)(1 - (o.Beta1 ?? 0));
        if (!vector)
            device.Map(new ScaleByRule(), 1, rowFactors.Length, rowFactors, Operand.Scalar(step));
        for (int b = 0; b < batch; b++)
        {
            Operand g = update.Gradient.Slice(b * length, length);
            Block data = values.Slice(b * length, length);
            if (vector)
            {
                if (o.Beta1 is null)
                    device.Map(new VectorStep(), 1, n, data, g, update.StateValues("exp_avg_sq"), Operand.Scalar(step), Operand.Scalar(decay));
                else
                    device.Map(new VectorMomentumStep(beta1, rest1), 1, n, data, g, update.StateValues("exp_avg_sq"), momentum, Operand.Scalar(step), Operand.Scalar(decay));
                continue;
            }

            Operand row = Operand.PerRow(rowFactors.Slice((long)b * m, m)), column = Operand.PerColumn(columnFactors.Slice((long)b * n, n));
            if (o.Beta1 is null)
                device.Map(new MatrixStep(), m, n, data, g, row, column, Operand.Scalar(decay));
            else
                device.Map(new MatrixMomentumStep(beta1, rest1), m, n, data, g, momentum.Slice(b * length, length), row, column, Operand.Scalar(decay));
        }

        foreach (Block block in (ReadOnlySpan<Block>)[scalars, sums, rowFactors, columnFactors])
            pool.Return(block);
    }

    /// <summary>Writes the direction to memory, and moves by the step without clipping. The running mean is one of steps; it rests where the step is 0.</summary>
    private static void Move(in ParameterUpdate update, AdafactorRelativeOptions o, in StepSize size, (Block Weights, Block Squares, Block Step, Block Rate) scalars, in Block rowFactors, in Block columnFactors)
    {
        Device device = update.Device;
        var (batch, m, n) = Matrices(update.Shape);
        long length = (long)m * n;
        Operand step = Operand.Scalar(scalars.Step), rate = Operand.Scalar(scalars.Rate);
        device.Map(new RateAndStep(size), 1, 1, scalars.Weights, scalars.Squares, scalars.Step, scalars.Rate);
        Block direction = device.Pool.Rent(update.Length);
        for (int b = 0; b < batch; b++)
        {
            Operand g = update.Gradient.Slice(b * length, length);
            Block u = direction.Slice(b * length, length);
            if (update.Shape.Count < 2)
            {
                device.Map(new VectorDirection(), 1, n, u, g, update.StateValues("exp_avg_sq"));
            }
            else
            {
                Operand row = Operand.PerRow(rowFactors.Slice((long)b * m, m)), column = Operand.PerColumn(columnFactors.Slice((long)b * n, n));
                device.Map(new MatrixDirection(), m, n, u, g, row, column);
            }
        }

        if (o.Beta1 is { } beta)
            update.Map(new MeanDirection((float)beta, (float)(1 - beta)), direction, update.StateValues("exp_avg"), step, rate);
        else
            update.Map(new ClippedDirection(), direction, step, rate);
        update.Move(direction, Decay.Before(o.WeightDecay), scalars.Rate);
        device.Pool.Return(direction);
    }

    /// <summary>The step with clipping, and -decay · step without it.</summary>
    private readonly struct StepSize(float perElement, float epsilon, float rho, float threshold, bool scales, float penalty) : IMap4
    {
        private readonly float perElement = perElement, epsilon = epsilon, rho = rho, threshold = threshold, penalty = penalty;
        private readonly int scales = scales ? 1 : 0;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L weights, ref L squares, ref L step, ref L decay) where L : struct, ILane<L>
        {
            L size = Of(weights);
            step = Clipped(size, squares);
            decay = L.Splat(-penalty) * size;
        }

        /// <summary>The step without clipping.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L weights) where L : struct, ILane<L> =>
            scales != 0 ? L.Max(L.Splat(epsilon), L.Sqrt(weights * L.Splat(perElement))) * L.Splat(rho) : L.Splat(rho);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Clipped<L>(L size, L squares) where L : struct, ILane<L> => size / L.Max(L.Splat(1), L.Sqrt(squares * L.Splat(perElement)) / L.Splat(threshold));
    }

    /// <summary>The step with clipping, and without it.</summary>
    private readonly struct RateAndStep(StepSize size) : IMap4
    {
        private readonly StepSize size = size;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L weights, ref L squares, ref L step, ref L rate) where L : struct, ILane<L>
        {
            rate = size.Of(weights);
            step = size.Clipped(rate, squares);
        }
    }

    private readonly struct MatrixDirection : IMap4
    {
        public static Access Access => Access.Of(Slot.Write, Slot.Read, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L g, ref L row, ref L column) where L : struct, ILane<L> => u = g * column * row;
    }

    private readonly struct VectorDirection : IMap3
    {
        public static Access Access => Access.Of(Slot.Write, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L g, ref L v) where L : struct, ILane<L> => u = g / L.Sqrt(v);
    }

    /// <summary>u ← u · step / rate, the clipped direction.</summary>
    private readonly struct ClippedDirection : IMap3
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L step, ref L rate) where L : struct, ILane<L> => u = L.Select(L.Equal(rate, L.Splat(0)), L.Splat(0), u * (step / rate));
    }

    /// <summary>m ← βm + (1-β) u · step; u ← m / rate.</summary>
    private readonly struct MeanDirection(float beta, float rest) : IMap4
    {
        private readonly float beta = beta, rest = rest;

        public static Access Access => Access.Of(Slot.Update, Slot.Update, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L m, ref L step, ref L rate) where L : struct, ILane<L>
        {
            m = L.Fma(L.Splat(beta), m, L.Splat(rest) * (u * step));
            u = L.Select(L.Equal(rate, L.Splat(0)), L.Splat(0), m / rate);
        }
    }

    private readonly struct MatrixStep : IMap5
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L g, ref L row, ref L column, ref L decay) where L : struct, ILane<L> =>
            p = L.Fma(decay, p, p) - g * column * row;
    }

    private readonly struct MatrixMomentumStep(float beta, float rest) : IMap6
    {
        private readonly float beta = beta, rest = rest;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Update, Slot.Read, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L g, ref L m, ref L row, ref L column, ref L decay) where L : struct, ILane<L>
        {
            m = L.Fma(L.Splat(beta), m, L.Splat(rest) * (g * column * row));
            p = L.Fma(decay, p, p) - m;
        }
    }

    private readonly struct VectorMoment(float beta, float rest, float epsilon) : IMap5
    {
        private readonly float beta = beta, rest = rest, epsilon = epsilon;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Update, Slot.Sum, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L p, ref L v, ref L weights, ref L squares) where L : struct, ILane<L>
        {
            v = L.Fma(L.Splat(beta), v, L.Splat(rest) * L.Fma(g, g, L.Splat(epsilon)));
            weights = p * p;
            L u = g / L.Sqrt(v);
            squares = u * u;
        }
    }

    private readonly struct VectorStep : IMap5
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L g, ref L v, ref L step, ref L decay) where L : struct, ILane<L> =>
            p = L.Fma(decay, p, p) - g / L.Sqrt(v) * step;
    }

    private readonly struct VectorMomentumStep(float beta, float rest) : IMap6
    {
        private readonly float beta = beta, rest = rest;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read, Slot.Update, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L g, ref L v, ref L m, ref L step, ref L decay) where L : struct, ILane<L>
        {
            m = L.Fma(L.Splat(beta), m, L.Splat(rest) * (g / L.Sqrt(v) * step));
            p = L.Fma(decay, p, p) - m;
        }
    }
}
