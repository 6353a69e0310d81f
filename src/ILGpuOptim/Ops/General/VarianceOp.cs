using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Variances over any axes, from squared deviations from the mean.</summary>
public static class VarianceOp
{
    /// <summary>Σ (x - mean)² / (n - correction) over some axes.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="axes">The axes; -1 is the last, none means all.</param>
    /// <param name="correction">1 for the unbiased estimate from a sample, 0 for the population variance.</param>
    /// <param name="keepDims">Keeps the axes with size 1.</param>
    public static Tensor Variance(this Tape tape, Tensor x, ReadOnlySpan<int> axes = default, int correction = 1, bool keepDims = false)
    {
        bool[] meant = Shapes.Axes("Variance", x, axes);
        int[] shape = Shapes.Reduced(x.Sizes(), meant, keepDims);
        long columns = SumOp.Count(x, meant), rows = Shapes.Length(shape);
        x = tape.MoveToEnd(tape.Wide(x), meant);
        Tensor output = tape.Output(shape, x);
        Block mean = tape.Scratch(rows);
        float factor = 1f / Math.Max(0, columns - correction);
        tape.Device.Map(new ScaledTotalRule(1f / columns), rows, columns, x.Data, Operand.PerRow(mean));
        if (columns == 0)
            tape.Device.Fill(output.Data, float.NaN);
        else
            tape.Device.Map(new SquaredDeviationRule(factor), rows, columns, x.Data, Operand.PerRow(mean), Operand.PerRow(output.Data));
        tape.Record(new Gradient(output, x, mean, rows, columns, factor));
        return output;
    }

    /// <summary>The square root of <see cref="Variance"/>.</summary>
    /// <inheritdoc cref="Variance"/>
    public static Tensor StandardDeviation(this Tape tape, Tensor x, ReadOnlySpan<int> axes = default, int correction = 1, bool keepDims = false) =>
        tape.Sqrt(tape.Variance(x, axes, correction, keepDims));

    private sealed class Gradient(Tensor output, Tensor x, Block mean, long rows, long columns, float factor) : Operation(output, x)
    {
        public override void Backward(Tape tape) =>
            tape.Device.Map(new GradientRule(2 * factor), rows, columns, x.Data, Operand.PerRow(mean), Operand.PerRow(Output.Gradient!.Value), tape.GradientTarget(x));
    }

    private readonly struct SquaredDeviationRule(float factor) : IMap3
    {
        private readonly float factor = factor;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L x, ref L mean, ref L sum) where L : struct, ILane<L> => sum = L.Splat(factor) * ((x - mean) * (x - mean));
    }

    private readonly struct GradientRule(float factor) : IMap4
    {
        private readonly float factor = factor;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L x, ref L mean, ref L gradient, ref L target) where L : struct, ILane<L> => target = L.Splat(factor) * (x - mean) * gradient;
    }
}
