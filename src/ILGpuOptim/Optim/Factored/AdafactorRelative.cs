using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="AdafactorRelative"/>.</summary>
public sealed record AdafactorRelativeOptions : OptimizerOptions
{
    /// <summary>The second moment's decay is 1 - t to this power.</summary>
    [Range(double.NegativeInfinity, 0)]
    public double DecayRate { get; init; } = -0.8;

    /// <summary>Added to squared gradients.</summary>
    [Range(0, MinimumIsExclusive = true)]
    public double Epsilon1 { get; init; } = 1e-30;

    /// <summary>The lower bound of the parameter's root mean square in relative steps.</summary>
    [Range(0, MinimumIsExclusive = true)]
    public double Epsilon2 { get; init; } = 1e-3;

    /// <summary>The root mean square above which an update is scaled down.</summary>
    [Range(0, MinimumIsExclusive = true)]
    public double ClipThreshold { get; init; } = 1;

    /// <summary>Decay of a running mean of updates; null disables it.</summary>
    [Range(0, 1, MaximumIsExclusive = true)]
    public double? Beta1 { get; init; }

    /// <summary>Makes steps relative to the parameter's root mean square.</summary>
    public bool ScaleParameter { get; init; } = true;

    /// <summary>The step is min(10⁻², 1/√t) instead of the learning rate.</summary>
    public bool RelativeStep { get; init; } = true;

    /// <summary>The relative step begins at 10⁻⁶ t.</summary>
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
public sealed class AdafactorRelative : Optimizer
{
    /// <inheritdoc/>
    public override string Name => "adafactor-relative";

    /// <inheritdoc/>
    public override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, OptimizerOptions options)
    {
        var o = (AdafactorRelativeOptions)options;
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
    protected override void Update(ParameterState state, double learningRate)
    {
        var o = (AdafactorRelativeOptions)state.Options;
        Parameter p = state.Parameter;
        double relative = Math.Min(o.WarmupInit ? 1e-6 * state.Step : 1e-2, 1 / Math.Sqrt(state.Step));
        double rho = o.RelativeStep ? relative * LearningRateFactor : learningRate, beta2 = 1 - Math.Pow(state.Step, o.DecayRate);
        var (batch, m, n) = Matrices(p.Shape);
        long size = (long)m * n;
        MemoryPool pool = p.Device.Pool;
        bool vector = p.Shape.Count < 2;
        Block scalars = pool.Rent(5 + 2L * batch), weights = scalars.Slice(0, 1), squares = scalars.Slice(1, 1), step = scalars.Slice(2, 1), decay = scalars.Slice(3, 1), total = scalars.Slice(4, 1);
        Block weightParts = scalars.Slice(5, batch), squareParts = scalars.Slice(5 + batch, batch);
        Block sums = pool.Rent(m + n), rowFactors = pool.Rent((long)batch * m), columnFactors = pool.Rent((long)batch * n);
        for (int b = 0; b < batch; b++)
        {
            Operand g = Gradient(state) with { Block = Gradients[p].Slice(b * size, size) };
            Block data = p.Data.Slice(b * size, size);
            if (vector)
            {
                p.Device.Map(new VectorMoment((float)beta2, (float)(1 - beta2), (float)o.Epsilon1), 1, n, g, data, state.Blocks[0], Operand.Scalar(weightParts), Operand.Scalar(squareParts));
                continue;
            }

            Block rows = state.Blocks[0].Slice((long)b * m, m), columns = state.Blocks[1].Slice((long)b * n, n);
            Block rowFactor = rowFactors.Slice((long)b * m, m), columnFactor = columnFactors.Slice((long)b * n, n);
            p.Device.Map(new Adafactor.Squares((float)o.Epsilon1), m, n, g, data, Operand.RowsAndColumns(sums), Operand.Scalar(weightParts.Slice(b, 1)));
            Factored.Accumulate(p.Device, sums, rows, columns, beta2, 1 - beta2);
            Factored.Factors(p.Device, rows, columns, rowFactor, columnFactor, total);
            p.Device.Map(new Factored.ScaledSquares(), m, n, g, Operand.PerRow(rowFactor), Operand.PerColumn(columnFactor), Operand.Scalar(squareParts.Slice(b, 1)));
        }

        p.Device.Map(new TotalRule(), 1, batch, weightParts, Operand.Scalar(weights));
        p.Device.Map(new TotalRule(), 1, batch, squareParts, Operand.Scalar(squares));
        p.Device.Map(new StepSize(1f / p.Length, (float)o.Epsilon2, (float)rho, (float)o.ClipThreshold, o.ScaleParameter, (float)o.WeightDecay), 1, 1, weights, squares, step, decay);
        Block momentum = o.Beta1 is null ? default : state["exp_avg"];
        float beta1 = (float)(o.Beta1 ?? 0), rest1 = (float)(1 - (o.Beta1 ?? 0));
        if (!vector)
            p.Device.Map(new ScaleByRule(), 1, rowFactors.Length, rowFactors, Operand.Scalar(step));
        for (int b = 0; b < batch; b++)
        {
            Operand g = Gradient(state) with { Block = Gradients[p].Slice(b * size, size) };
            Block data = p.Data.Slice(b * size, size);
            if (vector)
            {
                if (o.Beta1 is null)
                    p.Device.Map(new VectorStep(), 1, n, data, g, state.Blocks[0], Operand.Scalar(step), Operand.Scalar(decay));
                else
                    p.Device.Map(new VectorMomentumStep(beta1, rest1), 1, n, data, g, state.Blocks[0], momentum, Operand.Scalar(step), Operand.Scalar(decay));
                continue;
            }

            Operand row = Operand.PerRow(rowFactors.Slice((long)b * m, m)), column = Operand.PerColumn(columnFactors.Slice((long)b * n, n));
            if (o.Beta1 is null)
                p.Device.Map(new MatrixStep(), m, n, data, g, row, column, Operand.Scalar(decay));
            else
                p.Device.Map(new MatrixMomentumStep(beta1, rest1), m, n, data, g, momentum.Slice(b * size, size), row, column, Operand.Scalar(decay));
        }

        foreach (Block block in (ReadOnlySpan<Block>)[scalars, sums, rowFactors, columnFactors])
            pool.Return(block);
    }

    /// <summary>The step with clipping, and the factor 1 - decay · step without it.</summary>
    private readonly struct StepSize(float perElement, float epsilon, float rho, float threshold, bool scales, float penalty) : IMap4
    {
        private readonly float perElement = perElement, epsilon = epsilon, rho = rho, threshold = threshold, penalty = penalty;
        private readonly int scales = scales ? 1 : 0;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L weights, ref L squares, ref L step, ref L decay) where L : struct, ILane<L>
        {
            L size = scales != 0 ? L.Max(L.Splat(epsilon), L.Sqrt(weights * L.Splat(perElement))) * L.Splat(rho) : L.Splat(rho);
            step = size / L.Max(L.Splat(1), L.Sqrt(squares * L.Splat(perElement)) / L.Splat(threshold));
            decay = L.Splat(1) - L.Splat(penalty) * size;
        }
    }

    private readonly struct MatrixStep : IMap5
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L g, ref L row, ref L column, ref L decay) where L : struct, ILane<L> =>
            p = p * decay - g * column * row;
    }

    private readonly struct MatrixMomentumStep(float beta, float rest) : IMap6
    {
        private readonly float beta = beta, rest = rest;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Update, Slot.Read, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L g, ref L m, ref L row, ref L column, ref L decay) where L : struct, ILane<L>
        {
            m = L.Fma(L.Splat(beta), m, L.Splat(rest) * (g * column * row));
            p = p * decay - m;
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
            p = p * decay - g / L.Sqrt(v) * step;
    }

    private readonly struct VectorMomentumStep(float beta, float rest) : IMap6
    {
        private readonly float beta = beta, rest = rest;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read, Slot.Update, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L g, ref L v, ref L m, ref L step, ref L decay) where L : struct, ILane<L>
        {
            m = L.Fma(L.Splat(beta), m, L.Splat(rest) * (g / L.Sqrt(v) * step));
            p = p * decay - m;
        }
    }
}
