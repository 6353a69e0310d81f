using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Root mean square normalisation (Zhang and Sennrich, 2019).</summary>
public static class RmsNormOp
{
    /// <summary>y = x / √(mean(x²) + ε) · weight over each row, or over each group of columns of a row, such as a head.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">n × groups · c.</param>
    /// <param name="weight">c.</param>
    /// <param name="epsilon">ε, at least 0; keeps rows of zeros finite.</param>
    /// <param name="addsOne">The factor is 1 + weight.</param>
    /// <returns>As <paramref name="x"/>.</returns>
    /// <exception cref="ArgumentException">The weight's length does not divide the columns.</exception>
    /// <exception cref="ArgumentOutOfRangeException">ε is negative, infinite or NaN.</exception>
    public static Tensor RmsNorm(this Tape tape, Tensor x, Tensor weight, float epsilon, bool addsOne = false)
    {
        Scalars.NotNegative("RmsNorm", epsilon, weight);
        x = tape.Floats(x);
        int columns = LayerNormOp.Columns("RmsNorm", x, weight), rows = LayerNormOp.Rows(x, columns);
        float offset = addsOne ? 1 : 0;
        Tensor output = tape.Activation(x, x.Columns, x, weight);
        if (!output.RequiresGradient)
        {
            tape.Device.RowProgram(new Forward<Dropped>(1f / columns, epsilon, offset), rows, columns, [x.Data, Operand.PerColumn(weight.Data), output.Data]);
            return output;
        }

        Block scale = tape.Scratch(rows);
        tape.Device.RowProgram(new Forward<Kept>(1f / columns, epsilon, offset), rows, columns, [x.Data, Operand.PerColumn(weight.Data), output.Data, Operand.PerRow(scale)]);
        tape.Record(new Gradient(output, x, weight, scale, rows, columns, offset));
        return output;
    }

    private sealed class Gradient(Tensor output, Tensor x, Tensor weight, Block scale, int rows, int columns, float offset) : Operation(output, x, weight)
    {
        public override void Backward(Tape tape)
        {
            Block gradient = Output.Gradient!.Value;
            if (x.RequiresGradient)
            {
                tape.Device.RowProgram(new Backwards(1f / columns, offset), rows, columns,
                    [x.Data, gradient, Operand.PerColumn(weight.Data), Operand.PerRow(scale), tape.GradientTarget(x), tape.GradientTarget(weight, Layout.PerColumn)]);
            }
            else if (weight.RequiresGradient)
            {
                tape.Device.Map(new WeightGradient(), rows, columns, x.Data, gradient, Operand.PerRow(scale), tape.GradientTarget(weight, Layout.PerColumn));
            }

            tape.Release(scale);
        }
    }

    private readonly struct Forward<S>(float perColumn, float epsilon, float offset) : IRowRule where S : struct, INormStatistics
    {
        private readonly float perColumn = perColumn;
        private readonly float epsilon = epsilon;
        private readonly float offset = offset;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write, S.Slot);

        public static bool FirstIsMax => false;

        public static bool HasSecond => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L FirstTerm<L>(L x, L weight, L c, L d, L e, L f) where L : struct, ILane<L> => x * x;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L First<L>(L total) where L : struct, ILane<L> =>
            L.Splat(1) / L.Sqrt(L.Fma(total, L.Splat(perColumn), L.Splat(epsilon)));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L SecondTerm<L>(L scale, L x, L weight, L c, L d, L e, L f) where L : struct, ILane<L> => default;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Second<L>(L scale, L total) where L : struct, ILane<L> => default;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Map<L>(L scale, L second, ref L x, ref L weight, ref L y, ref L scaleOut, ref L e, ref L f) where L : struct, ILane<L>
        {
            y = x * scale * (weight + L.Splat(offset));
            scaleOut = scale;
        }
    }

    /// <summary>Σ gradient · normalised x over the rows.</summary>
    private readonly struct WeightGradient : IMap4
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L x, ref L gradient, ref L scale, ref L weightSum) where L : struct, ILane<L> => weightSum = gradient * (x * scale);
    }

    /// <summary>
    /// With g = gradient · (offset + weight) and x̂ the normalised x: scale · (g - x̂ · mean(g · x̂)) over each row; and the weight's
    /// gradient, Σ gradient · x̂, over each column.
    /// </summary>
    private readonly struct Backwards(float perColumn, float offset) : IRowRule
    {
        private readonly float perColumn = perColumn;
        private readonly float offset = offset;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Read, Slot.Write, Slot.Sum);

        public static bool FirstIsMax => false;

        public static bool HasSecond => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L FirstTerm<L>(L x, L gradient, L weight, L scale, L e, L f) where L : struct, ILane<L> => gradient * (weight + L.Splat(offset)) * (x * scale);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L First<L>(L total) where L : struct, ILane<L> => total * L.Splat(perColumn);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L SecondTerm<L>(L mean, L x, L gradient, L weight, L scale, L e, L f) where L : struct, ILane<L> => default;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Second<L>(L mean, L total) where L : struct, ILane<L> => default;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Map<L>(L mean, L second, ref L x, ref L gradient, ref L weight, ref L scale, ref L result, ref L weightSum) where L : struct, ILane<L>
        {
            L normal = x * scale;
            result = scale * (gradient * (weight + L.Splat(offset)) - normal * mean);
            weightSum = gradient * normal;
        }
    }
}
