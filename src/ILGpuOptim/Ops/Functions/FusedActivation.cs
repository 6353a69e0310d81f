using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>The kernels of an activation. Optional operands are types, on which kernels specialise.</summary>
internal sealed class FusedActivation<F>(F function) : Activation where F : unmanaged, IFunctionWithDerivative
{
    internal override void Product(Device device, in GemmArguments product, Block? bias, Block? before)
    {
        Operand biases = bias is { } b ? Operand.PerColumn(b) : product.C, kept = before ?? product.C;
        if (bias is null && before is null)
            device.Gemm(product, new Finish<Absent, Absent>(function), biases, kept);
        else if (bias is null)
            device.Gemm(product, new Finish<Absent, Written>(function), biases, kept);
        else if (before is null)
            device.Gemm(product, new Finish<Present, Absent>(function), biases, kept);
        else
            device.Gemm(product, new Finish<Present, Written>(function), biases, kept);
    }

    internal override void Backward(Device device, long rows, long columns, in Block gradient, in Block before, Operand? bias)
    {
        if (bias is { } sum)
            device.Map(new FinishBackward<Summed>(function), rows, columns, gradient, before, sum);
        else
            device.Map(new FinishBackward<Absent>(function), rows, columns, gradient, before, gradient);
    }

    internal override void GatedProduct(Device device, in GemmArguments product, Block? bias, in Block gate, in Block gated)
    {
        if (bias is { } b)
            device.Gemm(product, new GatedFinish<Present>(function), Operand.PerColumn(b), gate, gated);
        else
            device.Gemm(product, new GatedFinish<Absent>(function), product.C, gate, gated);
    }

    internal override void Gate(Device device, long rows, long columns, in Operand gate, Block? gateBias, in Operand up, Block? upBias, in Block gated)
    {
        Operand ofGate = gateBias is { } a ? Operand.PerColumn(a) : gate, ofUp = upBias is { } b ? Operand.PerColumn(b) : up;
        if (gateBias is null && upBias is null)
            device.Map(new Gating<Absent, Absent>(function), rows, columns, gate, ofGate, up, ofUp, gated);
        else if (upBias is null)
            device.Map(new Gating<Present, Absent>(function), rows, columns, gate, ofGate, up, ofUp, gated);
        else if (gateBias is null)
            device.Map(new Gating<Absent, Present>(function), rows, columns, gate, ofGate, up, ofUp, gated);
        else
            device.Map(new Gating<Present, Present>(function), rows, columns, gate, ofGate, up, ofUp, gated);
    }

    internal override void GateBackward(Device device, long rows, long columns, in Block gradient, in Block gate, in Block up, Operand? gateBias, Operand? upBias)
    {
        Operand ofGate = gateBias ?? gate, ofUp = upBias ?? up;
        if (gateBias is null && upBias is null)
            device.Map(new GatingBackward<Absent, Absent>(function), rows, columns, gradient, gate, up, ofGate, ofUp);
        else if (upBias is null)
            device.Map(new GatingBackward<Summed, Absent>(function), rows, columns, gradient, gate, up, ofGate, ofUp);
        else if (gateBias is null)
            device.Map(new GatingBackward<Absent, Summed>(function), rows, columns, gradient, gate, up, ofGate, ofUp);
        else
            device.Map(new GatingBackward<Summed, Summed>(function), rows, columns, gradient, gate, up, ofGate, ofUp);
    }

    internal override void GateBackward(Device device, long rows, long columns, in Block gradient, in Operand gate, in Operand up, in Operand gateGradient, in Operand upGradient) =>
        device.Map(new GatingBeside(function), rows, columns, gradient, gate, up, gateGradient, upGradient);

    internal override Tensor Apply(Tape tape, Tensor x)
    {
        x = tape.Floats(x);
        Tensor output = tape.Typed(Tape.TypeOf(x), x.Sizes(), x);
        tape.Device.Map(new Forward1<F>(function), 1, x.Length, x.Data, output.Data);
        tape.Record(new Gradient(function, output, x));
        return output;
    }

    private sealed class Gradient(F function, Tensor output, Tensor x) : Operation(output, x)
    {
        public override void Backward(Tape tape)
        {
            Block gradient = Output.Gradient!.Value;
            tape.Device.Map(new FinishBackward<Absent>(function), 1, x.Length, gradient, x.Data, gradient);
            tape.PassGradient(Output, x);
        }
    }

    /// <summary>y (the product) becomes f(y + bias); y + bias is kept for the gradient.</summary>
    private readonly struct Finish<B, K>(F function) : IMap3 where B : unmanaged, ISlot where K : unmanaged, ISlot
    {
        private readonly F function = function;

        public static Access Access => Access.Of(Slot.Update, B.Slot, K.Slot);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L y, ref L bias, ref L before) where L : struct, ILane<L>
        {
            before = B.Slot == Slot.None ? y : y + bias;
            y = function.Apply(before);
        }
    }

    /// <summary>Multiplies the gradient by f' in place, and sums it for the bias.</summary>
    private readonly struct FinishBackward<B>(F function) : IMap3 where B : unmanaged, ISlot
    {
        private readonly F function = function;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, B.Slot);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L gradient, ref L before, ref L sum) where L : struct, ILane<L>
        {
            function.Differentiate(before, out _, out L derivative);
            gradient *= derivative;
            sum = gradient;
        }
    }

    private readonly struct GatedFinish<B>(F function) : IMap4 where B : unmanaged, ISlot
    {
        private readonly F function = function;

        public static Access Access => Access.Of(Slot.Update, B.Slot, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L up, ref L bias, ref L gate, ref L gated) where L : struct, ILane<L>
        {
            up = B.Slot == Slot.None ? up : up + bias;
            gated = function.Apply(gate) * up;
        }
    }

    private readonly struct Gating<A, B>(F function) : IMap5 where A : unmanaged, ISlot where B : unmanaged, ISlot
    {
        private readonly F function = function;

        public static Access Access => Access.Of(Slot.Read, A.Slot, Slot.Read, B.Slot, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L gate, ref L gateBias, ref L up, ref L upBias, ref L gated) where L : struct, ILane<L> =>
            gated = function.Apply(A.Slot == Slot.None ? gate : gate + gateBias) * (B.Slot == Slot.None ? up : up + upBias);
    }

    /// <summary>Replaces both factors by their gradients.</summary>
    private readonly struct GatingBackward<A, B>(F function) : IMap5 where A : unmanaged, ISlot where B : unmanaged, ISlot
    {
        private readonly F function = function;

        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Update, A.Slot, B.Slot);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L gradient, ref L gate, ref L up, ref L gateSum, ref L upSum) where L : struct, ILane<L>
        {
            function.Differentiate(gate, out L value, out L derivative);
            gate = gradient * up * derivative;
            up = gradient * value;
            gateSum = gate;
            upSum = up;
        }
    }

    private readonly struct GatingBeside(F function) : IMap5
    {
        private readonly F function = function;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Write, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L gradient, ref L gate, ref L up, ref L gateGradient, ref L upGradient) where L : struct, ILane<L>
        {
            function.Differentiate(gate, out L value, out L derivative);
            gateGradient = gradient * up * derivative;
            upGradient = gradient * value;
        }
    }
}
