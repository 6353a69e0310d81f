using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="Adafactor"/>.</summary>
public sealed record AdafactorOptions : OptimizerOptions
{
    /// <summary>PyTorch's learning rate, an upper bound of the relative step.</summary>
    public AdafactorOptions() => LearningRate = 1e-2;

    /// <summary>Exponent of t in the second moment's weight.</summary>
    [Description("exponent of t in the weight of the second moment")]
    [Range(double.NegativeInfinity, 0)]
    public double Beta2Decay { get; init; } = -0.8;

    /// <summary>Its square is the lower bound of the second moment; 2⁻²³ by default.</summary>
    [Description("its square is the lower bound of the second moment")]
    [Range(0, MinimumIsExclusive = true)]
    public double Epsilon1 { get; init; } = 1.1920928955078125e-7;

    /// <summary>The lower bound of the parameter's root mean square in relative steps.</summary>
    [Description("lower bound of the parameter's root mean square in relative steps")]
    [Range(0, MinimumIsExclusive = true)]
    public double Epsilon2 { get; init; } = 1e-3;

    /// <summary>The root mean square above which an update is scaled down.</summary>
    [Description("root mean square above which an update is scaled down")]
    [Range(1)]
    public double ClipThreshold { get; init; } = 1;
}

/// <summary>
/// Adafactor (Shazeer and Stern, ICML 2018) as in PyTorch: w = t^decay; row += w (mean of g² - row), col alike;
/// u = g / √max(row · col / max(mean(row), ε₁), ε₁²); p -= α / max(1, RMS(u) / d) · u with
/// α = max(ε₂, RMS(p)) · min(lr, 1/√t). Decay multiplies p by 1 - lr · decay first.
/// </summary>
/// <remarks>
/// Three passes, 24 bytes a parameter: read g and p (sums of rows and columns, size of p; 8), read g (size of u; 4), read g and
/// update p (12). The passes multiply by reciprocal roots of rows and columns instead of dividing by roots of their products.
/// State 4(m + n) bytes for a matrix, 4n for a vector.
/// </remarks>
public sealed class Adafactor : Optimizer<AdafactorOptions>
{
    /// <inheritdoc/>
    public override string Name => "adafactor";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, AdafactorOptions options) =>
        shape.Count < 2
            ? [StateTensor.NonNegative("variance", shape)]
            : [new("row_var", [.. shape.SkipLast(1), 1]), new("col_var", [.. shape.SkipLast(2), 1, shape[^1]])];

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, AdafactorOptions o)
    {
        Device device = update.Device;
        Block values = update.WeightValues;
        double w = Math.Pow(update.Step, o.Beta2Decay), cap = Math.Min(update.LearningRate, 1 / Math.Sqrt(update.Step));
        float least = (float)(o.Epsilon1 * o.Epsilon1), most = 1 / MathF.Sqrt(least);
        var (batch, m, n) = Matrices(update.Shape);
        long size = (long)m * n;
        MemoryPool pool = device.Pool;
        Block scalars = pool.Rent(2 + 2L * batch), weights = scalars.Slice(0, 1), squares = scalars.Slice(1, 1);
        Block weightParts = scalars.Slice(2, batch), squareParts = scalars.Slice(2 + batch, batch);
        bool vector = update.Shape.Count < 2;
        Block sums = pool.Rent(m + n), rowFactors = pool.Rent((long)batch * m), columnFactors = pool.Rent((long)batch * n), total = pool.Rent(1);
        for (int b = 0; b < batch; b++)
        {
            Operand g = update.Gradient.Slice(b * size, size);
            Block data = values.Slice(b * size, size);
            if (vector)
            {
                device.Map(new VectorMoment((float)(1 - w), (float)w, least), 1, n, g, data, update.StateValues("variance"), Operand.Scalar(weightParts), Operand.Scalar(squareParts));
                continue;
            }

            Block rows = update.StateValues("row_var").Slice((long)b * m, m), columns = update.StateValues("col_var").Slice((long)b * n, n);
            Block rowFactor = rowFactors.Slice((long)b * m, m), columnFactor = columnFactors.Slice((long)b * n, n);
            device.Map(new Squares(0), m, n, g, data, Operand.RowsAndColumns(sums), Operand.Scalar(weightParts.Slice(b, 1)));
            Factored.Accumulate(device, sums, rows, columns, 1 - w, w);
            device.Map(new TotalRule(), 1, m, rows, Operand.Scalar(total));
            device.Map(new Factored.InverseRoot(), 1, m, rows, rowFactor);
            device.Map(new ColumnFactor(1f / m, (float)o.Epsilon1), 1, n, columns, Operand.Scalar(total), columnFactor);
            device.Map(new ScaledSquares(most), m, n, g, Operand.PerRow(rowFactor), Operand.PerColumn(columnFactor), Operand.Scalar(squareParts.Slice(b, 1)));
        }

        device.Map(new TotalRule(), 1, batch, weightParts, Operand.Scalar(weights));
        device.Map(new TotalRule(), 1, batch, squareParts, Operand.Scalar(squares));
        device.Map(new StepSize(1f / update.Length, (float)o.Epsilon2, (float)o.ClipThreshold), 1, 1, weights, squares);
        var motion = new Motion(update, Decay.Before(o.WeightDecay), cap > 0 ? cap / update.LearningRate : 0);
        for (int b = 0; b < batch; b++)
        {
            Operand g = update.Gradient.Slice(b * size, size);
            if (vector)
                motion.Map(new VectorDirection(least), 0, 1, n, g, update.StateValues("variance"), Operand.Scalar(weights));
            else
                motion.Map(new MatrixDirection(most), b * size, m, n, g, Operand.PerRow(rowFactors.Slice((long)b * m, m)), Operand.PerColumn(columnFactors.Slice((long)b * n, n)), Operand.Scalar(weights));
        }

        motion.End();
        foreach (Block block in (ReadOnlySpan<Block>)[scalars, sums, rowFactors, columnFactors, total])
            pool.Return(block);
    }

    /// <summary>Sums of g² + ε over rows and columns, and of p².</summary>
    internal readonly struct Squares(float epsilon) : IMap4
    {
        private readonly float epsilon = epsilon;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Sum, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L p, ref L sums, ref L weights) where L : struct, ILane<L>
        {
            sums = L.Fma(g, g, L.Splat(epsilon));
            weights = p * p;
        }
    }

    /// <summary>1 / √(column / max(mean of rows, ε)).</summary>
    private readonly struct ColumnFactor(float perRow, float epsilon) : IMap3
    {
        private readonly float perRow = perRow, epsilon = epsilon;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L column, ref L total, ref L factor) where L : struct, ILane<L> =>
            factor = L.Splat(1) / L.Sqrt(column / L.Max(L.Splat(epsilon), total * L.Splat(perRow)));
    }

    /// <summary>1 / √max(V, ε₁²) = min(1 / ε₁, row factor · column factor), also where the product overflows: V is 0 there.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static L Factor<L>(float most, L row, L column) where L : struct, ILane<L> => L.Min(L.Splat(most), row * column);

    private readonly struct ScaledSquares(float most) : IMap4
    {
        private readonly float most = most;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L row, ref L column, ref L sum) where L : struct, ILane<L>
        {
            L u = g * Factor(most, row, column);
            sum = u * u;
        }
    }

    /// <summary>max(ε₂, RMS(p)) / max(1, RMS(u) / d) in place of Σp².</summary>
    private readonly struct StepSize(float perElement, float epsilon, float threshold) : IMap2
    {
        private readonly float perElement = perElement, epsilon = epsilon, threshold = threshold;

        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L weights, ref L squares) where L : struct, ILane<L>
        {
            L alpha = L.Max(L.Splat(epsilon), L.Sqrt(weights * L.Splat(perElement)));
            weights = alpha / L.Max(L.Splat(1), L.Sqrt(squares * L.Splat(perElement)) / L.Splat(threshold));
        }
    }

    private readonly struct MatrixDirection(float most) : IMap5
    {
        private readonly float most = most;

        public static Access Access => Access.Of(Slot.Write, Slot.Read, Slot.Read, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L g, ref L row, ref L column, ref L step) where L : struct, ILane<L> =>
            u = step * (g * Factor(most, row, column));
    }

    private readonly struct VectorMoment(float beta, float rest, float least) : IMap5
    {
        private readonly float beta = beta, rest = rest, least = least;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Update, Slot.Sum, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L p, ref L v, ref L weights, ref L squares) where L : struct, ILane<L>
        {
            v = L.Fma(L.Splat(beta), v, L.Splat(rest) * g * g);
            weights = p * p;
            squares = g * g / L.Max(L.Splat(least), v);
        }
    }

    private readonly struct VectorDirection(float least) : IMap4
    {
        private readonly float least = least;

        public static Access Access => Access.Of(Slot.Write, Slot.Read, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L g, ref L v, ref L step) where L : struct, ILane<L> =>
            u = step * (g / L.Sqrt(L.Max(L.Splat(least), v)));
    }
}
