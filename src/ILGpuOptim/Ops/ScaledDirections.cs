using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>DoRA's weight (Liu et al., 2024): output vectors of given directions and magnitudes.</summary>
internal static class ScaledDirectionsOp
{
    /// <summary>
    /// m V / ‖V‖, where ‖V‖ are the norms of the weight's output vectors (equation 5). The backward pass takes the norms as constants, as section 4.3
    /// proposes: the gradient of V is that of the result times m / ‖V‖. An output vector of zeros stays zero.
    /// </summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="direction">V, outputs × inputs; inputs × outputs when not <paramref name="transposed"/>.</param>
    /// <param name="magnitude">m, one element for each output.</param>
    /// <param name="transposed">V is stored outputs × inputs, as in <see cref="LinearOp.Linear"/>.</param>
    /// <returns>As <paramref name="direction"/>.</returns>
    public static Tensor ScaledDirections(this Tape tape, Tensor direction, Tensor magnitude, bool transposed)
    {
        Layout layout = LayoutOf(transposed);
        Block norms = tape.OutputNorms(direction, transposed);
        Tensor output = tape.Output([direction.Shape[0], direction.Shape[1]], direction, magnitude);
        tape.Device.Map(new ScaleRule(), direction.Rows, direction.Columns, direction.Data, new Operand(norms, layout), new Operand(magnitude.Data, layout), output.Data);
        tape.Record(new Gradient(output, direction, magnitude, norms, layout));
        return output;
    }

    /// <summary>The Euclidean norms of a weight's output vectors, in memory of the tape.</summary>
    public static Block OutputNorms(this Tape tape, Tensor weight, bool transposed)
    {
        int outputs = weight.Shape[transposed ? 0 : 1];
        Block norms = tape.Scratch(outputs);
        tape.Device.Map(new SquaresRule(), weight.Rows, weight.Columns, weight.Data, new Operand(norms, LayoutOf(transposed)));
        tape.Device.Map(new NormOp.RootRule(), 1, outputs, norms);
        return norms;
    }

    private static Layout LayoutOf(bool transposed) => transposed ? Layout.PerRow : Layout.PerColumn;

    private sealed class Gradient(Tensor output, Tensor direction, Tensor magnitude, Block norms, Layout layout) : Operation(output, direction, magnitude)
    {
        public override void Backward(Tape tape)
        {
            Block gradient = Output.Gradient!.Value;
            if (magnitude.RequiresGradient)
                tape.Device.Map(new MagnitudeRule(), direction.Rows, direction.Columns, gradient, direction.Data, new Operand(norms, layout), tape.GradientTarget(magnitude, layout));
            if (direction.RequiresGradient)
                tape.Device.Map(new ScaleRule(), direction.Rows, direction.Columns, gradient, new Operand(norms, layout), new Operand(magnitude.Data, layout), tape.GradientTarget(direction));
        }
    }

    /// <summary>y = x m / ‖V‖; 0 where the norm is 0.</summary>
    private readonly struct ScaleRule : IMap4
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L x, ref L norm, ref L magnitude, ref L y) where L : struct, ILane<L> =>
            y = L.Select(L.Less(L.Splat(0), norm), x * (magnitude / norm), L.Splat(0));
    }

    /// <summary>The gradient of m: Σ g V / ‖V‖.</summary>
    private readonly struct MagnitudeRule : IMap4
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L gradient, ref L direction, ref L norm, ref L sum) where L : struct, ILane<L> =>
            sum = L.Select(L.Less(L.Splat(0), norm), gradient * direction / norm, L.Splat(0));
    }
}
