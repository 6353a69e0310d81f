using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>The gated unit of LLaMA's feed-forward layers (Shazeer, "GLU variants improve transformer", 2020).</summary>
public static class SwiGluOp
{
    /// <summary>
    /// silu(x Gᵀ + b) ∘ (x Uᵀ + c) with silu(z) = z / (1 + e⁻ᶻ): two products, the second of which finishes the result
    /// in its epilogue.
    /// </summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="x">n × in.</param>
    /// <param name="gate">G, out × in.</param>
    /// <param name="up">U, out × in.</param>
    /// <param name="gateBias">b, out; or null.</param>
    /// <param name="upBias">c, out; null exactly when <paramref name="gateBias"/> is.</param>
    /// <returns>n × out.</returns>
    public static Tensor SwiGlu(this Tape tape, Tensor x, Tensor gate, Tensor up, Tensor? gateBias = null, Tensor? upBias = null)
    {
        if (gateBias is null != upBias is null)
            throw new ArgumentException("both products have a bias or neither has", nameof(upBias));
        int outputs = gate.Shape[0];
        Tensor output = tape.Output([x.Rows, outputs], x, gate, up, gateBias, upBias);
        Block gated = tape.Scratch(output.Length), raised = tape.Scratch(output.Length);
        var first = new GemmArguments(x.Data, gate.Data, gated, x.Rows, outputs, x.Columns) { TransposeB = true };
        GemmArguments second = first with { B = up.Data, C = raised };
        Device device = tape.Device;
        if (gateBias is null)
        {
            device.Gemm(first);
            device.Gemm(second, new Forward(), gated, output.Data);
        }
        else
        {
            device.Gemm(first, new AddRule(), Operand.PerColumn(gateBias.Data));
            device.Gemm(second, new ForwardWithBias(), Operand.PerColumn(upBias!.Data), gated, output.Data);
        }

        tape.Record(new Gradient(output, x, gate, up, gateBias, upBias, gated, raised));
        return output;
    }

    private sealed class Gradient(Tensor output, Tensor x, Tensor gate, Tensor up, Tensor? gateBias, Tensor? upBias, Block gated, Block raised)
        : Operation(output, x, gate, up, gateBias, upBias)
    {
        public override void Backward(Tape tape)
        {
            Block slope = Output.Gradient!.Value;
            int rows = Output.Rows, columns = Output.Columns;
            if (gateBias is null)
            {
                tape.Device.Map(new Backwards(), 1, Output.Length, slope, gated, raised);
            }
            else
            {
                Block gateSum = tape.ColumnSumTarget(gateBias, out bool addGate), upSum = tape.ColumnSumTarget(upBias!, out bool addUp);
                tape.Device.Map(new BackwardsWithBias(), rows, columns, slope, gated, raised, Operand.PerColumn(gateSum), Operand.PerColumn(upSum));
                tape.AddColumnSum(gateBias, gateSum, addGate);
                tape.AddColumnSum(upBias!, upSum, addUp);
            }

            LinearOp.ProductGradients(tape, x, gate, gated, columns, transposed: true);
            tape.Release(gated);
            LinearOp.ProductGradients(tape, x, up, raised, columns, transposed: true);
            tape.Release(raised);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static L Sigmoid<L>(L x) where L : struct, ILane<L> => L.Splat(1) / (L.Splat(1) + L.Exp(-x));

    internal readonly struct Forward : IMap3
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L up, ref L gate, ref L result) where L : struct, ILane<L> => result = gate * Sigmoid(gate) * up;
    }

    internal readonly struct ForwardWithBias : IMap4
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L up, ref L bias, ref L gate, ref L result) where L : struct, ILane<L>
        {
            up += bias;
            result = gate * Sigmoid(gate) * up;
        }
    }

    /// <summary>Both factors become their gradients: silu'(z) = σ (1 + z (1 - σ)).</summary>
    private readonly struct Backwards : IMap3
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L slope, ref L gate, ref L up) where L : struct, ILane<L>
        {
            L sigmoid = Sigmoid(gate), silu = gate * sigmoid;
            gate = slope * up * L.Fma(silu, L.Splat(1) - sigmoid, sigmoid);
            up = slope * silu;
        }
    }

    private readonly struct BackwardsWithBias : IMap5
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Update, Slot.Sum, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L slope, ref L gate, ref L up, ref L gateSum, ref L upSum) where L : struct, ILane<L>
        {
            new Backwards().Apply(ref slope, ref gate, ref up);
            gateSum = gate;
            upSum = up;
        }
    }
}
