using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Layer normalisation (Ba, Kiros and Hinton, 2016).</summary>
public static class LayerNormOp
{
    /// <summary>
    /// y = (x - mean) / √(variance + ε) · weight + bias over each row, or over each group of columns of a row, such as a head; the variance is
    /// the biased one.
    /// </summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">n × groups · c.</param>
    /// <param name="weight">c.</param>
    /// <param name="bias">c; or null.</param>
    /// <param name="epsilon">ε, at least 0; keeps rows of equal values finite.</param>
    /// <returns>As <paramref name="x"/>.</returns>
    /// <exception cref="ArgumentException">The weight's length does not divide the columns.</exception>
    /// <exception cref="ArgumentOutOfRangeException">ε is negative, infinite or NaN.</exception>
    public static Tensor LayerNorm(this Tape tape, Tensor x, Tensor weight, Tensor? bias, float epsilon)
    {
        Scalars.NotNegative("LayerNorm", epsilon, weight);
        x = tape.Floats(x);
        int columns = Columns("LayerNorm", x, weight), rows = Rows(x, columns);
        if (bias is not null && bias.Length != columns)
            throw new ArgumentException($"{ProductShape.Named("LayerNorm", weight)} takes {columns} columns, its bias is {bias}", nameof(bias));
        Block? zeros = bias is null ? Zeros(tape, columns) : null;
        Tensor output = tape.Activation(x, x.Columns, x, weight, bias);
        Operand added = Operand.PerColumn(bias?.Data ?? zeros!.Value);
        if (output.RequiresGradient)
        {
            Block mean = tape.Scratch(rows), scale = tape.Scratch(rows);
            tape.Device.RowProgram(new Forward<Kept>(1f / columns, epsilon), rows, columns,
                [x.Data, Operand.PerColumn(weight.Data), added, output.Data, Operand.PerRow(mean), Operand.PerRow(scale)]);
            tape.Record(new Gradient(output, x, weight, bias, mean, scale, rows, columns));
        }
        else
        {
            tape.Device.RowProgram(new Forward<Dropped>(1f / columns, epsilon), rows, columns, [x.Data, Operand.PerColumn(weight.Data), added, output.Data]);
        }

        if (zeros is { } unneeded)
            tape.Release(unneeded);
        return output;
    }

    /// <summary>The number of columns that are normalised together: the length of the weight.</summary>
    internal static int Columns(string operation, Tensor x, Tensor weight)
    {
        Shapes.NotNull(operation, x);
        Shapes.NotNull(operation, weight);
        return weight.Length > 0 && x.Columns % weight.Length == 0
            ? (int)weight.Length
            : throw new ArgumentException($"{ProductShape.Named(operation, weight)} takes {weight.Length} columns or a multiple of them, x is {x}", nameof(x));
    }

    /// <summary>The number of groups in all rows.</summary>
    internal static int Rows(Tensor x, int columns) => checked((int)(x.Length / columns));

    private static Block Zeros(Tape tape, int columns)
    {
        Block zeros = tape.Scratch(columns);
        tape.Device.Fill(zeros, 0);
        return zeros;
    }

    private static void Release(Tape tape, in Block mean, in Block scale)
    {
        tape.Release(scale);
        tape.Release(mean);
    }

    private sealed class Gradient(Tensor output, Tensor x, Tensor weight, Tensor? bias, Block mean, Block scale, int rows, int columns)
        : Operation(output, x, weight, bias)
    {
        public override void Backward(Tape tape)
        {
            Block gradient = Output.Gradient!.Value;
            if (bias is { RequiresGradient: true })
            {
                tape.Device.Map(new ParameterGradients(), rows, columns,
                    x.Data, gradient, Operand.PerRow(mean), Operand.PerRow(scale), tape.GradientTarget(weight, Layout.PerColumn), tape.GradientTarget(bias, Layout.PerColumn));
            }
            else if (weight.RequiresGradient)
            {
                tape.Device.Map(new WeightGradient(), rows, columns, x.Data, gradient, Operand.PerRow(mean), Operand.PerRow(scale), tape.GradientTarget(weight, Layout.PerColumn));
            }

            if (x.RequiresGradient)
            {
                tape.Device.RowProgram(new Backwards(1f / columns), rows, columns,
                    [x.Data, gradient, Operand.PerColumn(weight.Data), Operand.PerRow(mean), Operand.PerRow(scale), tape.GradientTarget(x)]);
            }

            Release(tape, mean, scale);
        }
    }

    private readonly struct Forward<S>(float perColumn, float epsilon) : IRowRule where S : struct, INormStatistics
    {
        private readonly float perColumn = perColumn;
        private readonly float epsilon = epsilon;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Write, S.Slot, S.Slot);

        public static bool FirstIsMax => false;

        public static bool HasSecond => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L FirstTerm<L>(L x, L weight, L bias, L d, L e, L f) where L : struct, ILane<L> => x;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L First<L>(L total) where L : struct, ILane<L> => total * L.Splat(perColumn);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L SecondTerm<L>(L mean, L x, L weight, L bias, L d, L e, L f) where L : struct, ILane<L> => (x - mean) * (x - mean);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Second<L>(L mean, L total) where L : struct, ILane<L> =>
            L.Splat(1) / L.Sqrt(L.Fma(total, L.Splat(perColumn), L.Splat(epsilon)));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Map<L>(L mean, L scale, ref L x, ref L weight, ref L bias, ref L y, ref L meanOut, ref L scaleOut) where L : struct, ILane<L>
        {
            y = L.Fma((x - mean) * scale, weight, bias);
            meanOut = mean;
            scaleOut = scale;
        }
    }

    /// <summary>Σ gradient · normalised x, and Σ gradient, over the rows.</summary>
    private readonly struct ParameterGradients : IMap6
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Read, Slot.Sum, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L x, ref L gradient, ref L mean, ref L scale, ref L weightSum, ref L biasSum) where L : struct, ILane<L>
        {
            weightSum = gradient * ((x - mean) * scale);
            biasSum = gradient;
        }
    }

    /// <summary>Σ gradient · normalised x over the rows, where there is no bias to train.</summary>
    private readonly struct WeightGradient : IMap5
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L x, ref L gradient, ref L mean, ref L scale, ref L weightSum) where L : struct, ILane<L> => weightSum = gradient * ((x - mean) * scale);
    }

    /// <summary>
    /// With g = gradient · weight and x̂ the normalised x: scale · (g - mean(g) - x̂ · mean(g · x̂)) over each row.
    /// </summary>
    private readonly struct Backwards(float perColumn) : IRowRule
    {
        private readonly float perColumn = perColumn;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Read, Slot.Read, Slot.Write);

        public static bool FirstIsMax => false;

        public static bool HasSecond => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L FirstTerm<L>(L x, L gradient, L weight, L mean, L scale, L f) where L : struct, ILane<L> => gradient * weight;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L First<L>(L total) where L : struct, ILane<L> => total * L.Splat(perColumn);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L SecondTerm<L>(L first, L x, L gradient, L weight, L mean, L scale, L f) where L : struct, ILane<L> =>
            gradient * weight * ((x - mean) * scale);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Second<L>(L first, L total) where L : struct, ILane<L> => total * L.Splat(perColumn);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Map<L>(L first, L second, ref L x, ref L gradient, ref L weight, ref L mean, ref L scale, ref L result) where L : struct, ILane<L> =>
            result = scale * (gradient * weight - first - (x - mean) * scale * second);
    }
}
