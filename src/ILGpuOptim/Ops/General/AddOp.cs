using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Sums and differences of two tensors, and linear functions of one. Their gradients do not read the inputs.</summary>
public static class AddOp
{
    /// <summary>x + y, broadcast to each other.</summary>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast.</exception>
    public static Tensor Add(this Tape tape, Tensor x, Tensor y) => tape.Combine("Add", x, y, 1);

    /// <summary>x - y, broadcast to each other.</summary>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast.</exception>
    public static Tensor Subtract(this Tape tape, Tensor x, Tensor y) => tape.Combine("Subtract", x, y, -1);

    /// <summary>factor · x + offset, rounded once.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="factor">Multiplies every element.</param>
    /// <param name="offset">Added to every product. Adding -0, unlike 0, keeps a product of -0.</param>
    public static Tensor Affine(this Tape tape, Tensor x, float factor, float offset = -0f)
    {
        x = tape.Floats(x);
        Tensor output = tape.Typed(Tape.TypeOf(x), x.Sizes(), x);
        tape.Device.Map(new AffineRule(factor, offset), 1, x.Length, x.Data, output.Data);
        tape.Record(new AffineGradient(output, x, factor));
        return output;
    }

    /// <summary>x / divisor.</summary>
    public static Tensor Divide(this Tape tape, Tensor x, float divisor)
    {
        x = tape.Floats(x);
        Tensor output = tape.Typed(Tape.TypeOf(x), x.Sizes(), x);
        tape.Device.Map(new QuotientRule(divisor), 1, x.Length, x.Data, output.Data);
        tape.Record(new QuotientGradient(output, x, divisor));
        return output;
    }

    private static Tensor Combine(this Tape tape, string operation, Tensor x, Tensor y, float sign)
    {
        FunctionInputs inputs = FunctionInputs.Of(tape, operation, x, y);
        Tensor output = tape.Typed(inputs.Type, inputs.Shape.Sizes, x, y);
        tape.Device.Map(new CombineRule(sign), inputs.Shape.Rows, inputs.Shape.Columns, inputs.Operand(0), inputs.Operand(1), output.Data);
        tape.Record(new Gradient(output, inputs, sign));
        return output;
    }

    private sealed class Gradient(Tensor output, FunctionInputs inputs, float sign) : Operation(output, [.. inputs.Tensors])
    {
        public override void Backward(Tape tape)
        {
            // The second may take the memory of the output's gradient, which the first reads.
            Tensor x = inputs.Tensors[0], y = inputs.Tensors[1];
            if (y.RequiresGradient && inputs.SlotOf(1) == Slot.Write && sign == 1)
                tape.AddToGradient(y, Output.Gradient!.Value);
            else if (y.RequiresGradient)
                Add(tape, 1, sign);
            if (x.RequiresGradient && inputs.SlotOf(0) == Slot.Sum)
                Add(tape, 0, 1);
            else
                tape.PassGradient(Output, x);
        }

        private void Add(Tape tape, int index, float factor)
        {
            Operand target = tape.GradientTarget(inputs.Tensors[index], inputs.Operand(index).Layout);
            if (inputs.SlotOf(index) == Slot.Sum)
                tape.Device.Map(new ScaledTotalRule(factor), inputs.Shape.Rows, inputs.Shape.Columns, Output.Gradient!.Value, target);
            else
                tape.Device.Map(new AffineRule(factor, 0), inputs.Shape.Rows, inputs.Shape.Columns, Output.Gradient!.Value, target);
        }
    }

    private sealed class AffineGradient(Tensor output, Tensor x, float factor) : Operation(output, x)
    {
        public override void Backward(Tape tape)
        {
            if (factor != 1)
                tape.Device.Map(new ScaleRule(factor), 1, Output.Length, Output.Gradient!.Value);
            tape.PassGradient(Output, x);
        }
    }

    private sealed class QuotientGradient(Tensor output, Tensor x, float divisor) : Operation(output, x)
    {
        public override void Backward(Tape tape)
        {
            tape.Device.Map(new QuotientRule(divisor), 1, Output.Length, Output.Gradient!.Value, Output.Gradient!.Value);
            tape.PassGradient(Output, x);
        }
    }

    /// <summary>c = a + sign · b.</summary>
    private readonly struct CombineRule(float sign) : IMap3
    {
        private readonly float sign = sign;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a, ref L b, ref L c) where L : struct, ILane<L> => c = L.Fma(L.Splat(sign), b, a);
    }

    /// <summary>b = factor · a + offset.</summary>
    private readonly struct AffineRule(float factor, float offset) : IMap2
    {
        private readonly float factor = factor;
        private readonly float offset = offset;

        public static Access Access => Access.Of(Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a, ref L b) where L : struct, ILane<L> => b = L.Fma(L.Splat(factor), a, L.Splat(offset));
    }

    /// <summary>b = a / divisor.</summary>
    private readonly struct QuotientRule(float divisor) : IMap2
    {
        private readonly float divisor = divisor;

        public static Access Access => Access.Of(Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a, ref L b) where L : struct, ILane<L> => b = a / L.Splat(divisor);
    }
}
