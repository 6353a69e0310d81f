using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="Came"/>.</summary>
public sealed record CameOptions : OptimizerOptions
{
    /// <summary>Decay of the momentum.</summary>
    [Description("decay rate of the momentum")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay of the squared gradients.</summary>
    [Description("decay rate of the factored squared gradients")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Beta2 { get; init; } = 0.999;

    /// <summary>Decay of the instability; should exceed <see cref="Beta2"/>.</summary>
    [Description("decay rate of the confidence statistic")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Beta3 { get; init; } = 0.9999;

    /// <summary>Added to squared gradients.</summary>
    [Description("term added to squared gradients")]
    [Range(0, MinimumIsExclusive = true)]
    public double Epsilon1 { get; init; } = 1e-30;

    /// <summary>Added to squared deviations.</summary>
    [Description("term added to squared residuals")]
    [Range(0, MinimumIsExclusive = true)]
    public double Epsilon2 { get; init; } = 1e-16;

    /// <summary>The root mean square above which an update is scaled down.</summary>
    [Description("root mean square above which an update is scaled down")]
    [Range(0, MinimumIsExclusive = true)]
    public double ClipThreshold { get; init; } = 1;

    /// <summary>
    /// Divides each moment by 1 - βᵗ. Off by default, as in the reference, whose first steps are eleven times the learning rate for matrices and a tenth
    /// of it for vectors. The deviation u - m uses the uncorrected m, because the corrected one equals u at the first step.
    /// </summary>
    [Description("divides each moment by 1 - βᵗ")]
    public bool BiasCorrection { get; init; }
}

/// <summary>
/// CAME, confidence-guided adaptive memory-efficient optimization (Luo et al., ACL 2023). u = g / √V with Adafactor's
/// factored V of g² + ε₁; u /= max(1, RMS(u) / threshold); m = β₁m + (1-β₁)u; a second factored moment S of
/// (u - m)² + ε₂ measures instability; p -= lr · m / √S. Vectors keep V whole and have no S. Weight decay multiplies
/// the parameter by 1 - lr · decay first.
/// </summary>
/// <remarks>
/// Four passes, 32 bytes a parameter in f32: read g (row and column sums); read g (size of u); read g, update m (sums
/// of the deviation); read m, update p. State: 4mn + 8(m + n) bytes for a matrix, 8n for a vector.
/// </remarks>
public sealed class Came : Optimizer<CameOptions>
{
    /// <inheritdoc/>
    public override string Name => "came";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, CameOptions options)
    {
        if (shape.Count < 2)
            return [StateTensor.Signed("exp_avg", shape), StateTensor.NonNegative("exp_avg_sq", shape)];
        int[] rows = [.. shape.SkipLast(1)], columns = [.. shape.SkipLast(2), shape[^1]];
        return [StateTensor.Signed("exp_avg", shape), new("exp_avg_sq_row", rows), new("exp_avg_sq_col", columns), new("exp_avg_res_row", rows), new("exp_avg_res_col", columns)];
    }

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, CameOptions o)
    {
        Device device = update.Device;
        MemoryPool pool = device.Pool;
        Block momentum = update.StateValues("exp_avg");
        long step = update.Step;
        double Correction(double beta) => o.BiasCorrection ? 1 - Math.Pow(beta, step) : 1;
        float unbiased = (float)Math.Sqrt(Correction(o.Beta2));
        bool isVector = update.Shape.Count < 2;
        var motion = new Motion(update, Decay.Before(o.WeightDecay) with { IsDifference = true }, (isVector ? 1 : Math.Sqrt(Correction(o.Beta3))) / Correction(o.Beta1));
        Block scalars = pool.Rent(4), squares = scalars.Slice(0, 1), clip = scalars.Slice(1, 1), total = scalars.Slice(2, 1);
        if (isVector)
        {
            device.Map(new VectorMoment((float)o.Beta2, (float)(1 - o.Beta2), (float)o.Epsilon1), 1, update.Length, update.Gradient, update.StateValues("exp_avg_sq"), Operand.Scalar(squares));
            device.Map(new Factored.ClipFactor(1f / update.Length, (float)o.ClipThreshold, unbiased), 1, 1, squares, clip);
            motion.Map(new VectorDirection((float)o.Beta1, (float)(1 - o.Beta1)), 0, 1, update.Length, update.Gradient, momentum, update.StateValues("exp_avg_sq"), Operand.Scalar(clip));
            motion.End();
            pool.Return(scalars);
            return;
        }

        var (batch, m, n) = Matrices(update.Shape);
        long size = (long)m * n;
        Block sums = pool.Rent(m + n), rowFactors = pool.Rent((long)batch * m), columnFactors = pool.Rent((long)batch * n), parts = pool.Rent(batch);
        for (int b = 0; b < batch; b++)
        {
            Operand g = update.Gradient.Slice(b * size, size);
            Block rows = update.StateValues("exp_avg_sq_row").Slice((long)b * m, m), columns = update.StateValues("exp_avg_sq_col").Slice((long)b * n, n);
            Block rowFactor = rowFactors.Slice((long)b * m, m), columnFactor = columnFactors.Slice((long)b * n, n);
            device.Map(new ShiftedSquares((float)o.Epsilon1), m, n, g, Operand.RowsAndColumns(sums));
            Factored.Accumulate(device, sums, rows, columns, o.Beta2, 1 - o.Beta2);
            Factored.Factors(device, rows, columns, rowFactor, columnFactor, total);
            device.Map(new Factored.ScaledSquares(), m, n, g, Operand.PerRow(rowFactor), Operand.PerColumn(columnFactor), Operand.Scalar(parts.Slice(b, 1)));
        }

        device.Map(new TotalRule(), 1, batch, parts, Operand.Scalar(squares));
        device.Map(new Factored.ClipFactor(1f / update.Length, (float)o.ClipThreshold, unbiased), 1, 1, squares, clip);
        device.Map(new ScaleByRule(), 1, rowFactors.Length, rowFactors, Operand.Scalar(clip));
        for (int b = 0; b < batch; b++)
        {
            Operand g = update.Gradient.Slice(b * size, size);
            Block part = momentum.Slice(b * size, size);
            Block rows = update.StateValues("exp_avg_res_row").Slice((long)b * m, m), columns = update.StateValues("exp_avg_res_col").Slice((long)b * n, n);
            Block rowFactor = rowFactors.Slice((long)b * m, m), columnFactor = columnFactors.Slice((long)b * n, n);
            device.Map(new Momentum((float)o.Beta1, (float)(1 - o.Beta1), (float)o.Epsilon2), m, n,
                g, part, Operand.PerRow(rowFactor), Operand.PerColumn(columnFactor), Operand.RowsAndColumns(sums));
            Factored.Accumulate(device, sums, rows, columns, o.Beta3, 1 - o.Beta3);
            Factored.Factors(device, rows, columns, rowFactor, columnFactor, total);
            motion.Map(new ConfidentDirection(), b * size, m, n, part, Operand.PerRow(rowFactor), Operand.PerColumn(columnFactor));
        }

        motion.End();

        foreach (Block block in (ReadOnlySpan<Block>)[scalars, sums, rowFactors, columnFactors, parts])
            pool.Return(block);
    }

    /// <summary>Sums of g² + ε₁.</summary>
    private readonly struct ShiftedSquares(float epsilon) : IMap2
    {
        private readonly float epsilon = epsilon;

        public static Access Access => Access.Of(Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L sum) where L : struct, ILane<L> => sum = L.Fma(g, g, L.Splat(epsilon));
    }

    /// <summary>m = β₁m + (1-β₁)u; sums of (u - m)² + ε₂.</summary>
    private readonly struct Momentum(float beta, float rest, float epsilon) : IMap5
    {
        private readonly float beta = beta, rest = rest, epsilon = epsilon;

        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Read, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L m, ref L row, ref L column, ref L sum) where L : struct, ILane<L>
        {
            L u = g * row * column;
            m = L.Fma(L.Splat(beta), m, L.Splat(rest) * u);
            L deviation = u - m;
            sum = L.Fma(deviation, deviation, L.Splat(epsilon));
        }
    }

    /// <summary>u = m · row factor · column factor.</summary>
    private readonly struct ConfidentDirection : IMap4
    {
        public static Access Access => Access.Of(Slot.Write, Slot.Read, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L m, ref L row, ref L column) where L : struct, ILane<L> => u = m * row * column;
    }

    /// <summary>V = β₂V + (1-β₂)(g² + ε₁); sum of g² / V.</summary>
    private readonly struct VectorMoment(float beta, float rest, float epsilon) : IMap3
    {
        private readonly float beta = beta, rest = rest, epsilon = epsilon;

        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L v, ref L sum) where L : struct, ILane<L>
        {
            v = L.Fma(L.Splat(beta), v, L.Splat(rest) * L.Fma(g, g, L.Splat(epsilon)));
            L u = g / L.Sqrt(v);
            sum = u * u;
        }
    }

    private readonly struct VectorDirection(float beta, float rest) : IMap5
    {
        private readonly float beta = beta, rest = rest;

        public static Access Access => Access.Of(Slot.Write, Slot.Read, Slot.Update, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L g, ref L m, ref L v, ref L clip) where L : struct, ILane<L>
        {
            m = L.Fma(L.Splat(beta), m, L.Splat(rest) * (g / L.Sqrt(v) * clip));
            u = m;
        }
    }
}
