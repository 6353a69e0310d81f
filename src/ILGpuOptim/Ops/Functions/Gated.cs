using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Gated units (Shazeer, "GLU variants improve transformer", 2020): activation(gate) ∘ up, called SwiGLU with SiLU and GeGLU with GELU.</summary>
public static class GatedOp
{
    /// <summary>activation(x Gᵀ + b) ∘ (x Uᵀ + c): two products; the epilogue of the second computes the result.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">n × in.</param>
    /// <param name="gate">G, out × in.</param>
    /// <param name="up">U, out × in.</param>
    /// <param name="gateBias">b, out; or null.</param>
    /// <param name="upBias">c, out; or null.</param>
    /// <param name="activation">The activation.</param>
    /// <returns>n × out.</returns>
    /// <exception cref="ArgumentException">The sizes do not fit.</exception>
    public static Tensor GatedProduct(this Tape tape, Tensor x, Tensor gate, Tensor up, Tensor? gateBias, Tensor? upBias, Activation activation)
    {
        int outputs = ProductShape.Outputs("GatedProduct", x, gate, gateBias, transposed: true);
        if (ProductShape.Outputs("GatedProduct", x, up, upBias, transposed: true) != outputs)
            throw new ArgumentException($"GatedProduct: the weights of gate and up are {gate} and {up}; they must have the same shape", nameof(up));
        Tensor output = tape.Activation(x, outputs, x, gate, up, gateBias, upBias);
        Device device = tape.Device;
        bool keeps = output.RequiresGradient;
        DType type = output.Memory.Type;
        Block raised = tape.Scratch(output.Length, type), gated = keeps ? tape.Scratch(output.Length, type) : output.Data;
        var first = tape.Product(x.Data, gate.Data, gated, x.Rows, outputs, x.Columns) with { TransposeB = true };
        GemmArguments second = first with { B = up.Data, C = raised };
        if (!keeps && x.Rows <= ProductShape.FewRows)
        {
            device.Gemm([first, second]);
            activation.Gate(device, x.Rows, outputs, gated, gateBias?.Data, raised, upBias?.Data, output.Data);
        }
        else
        {
            if (gateBias is null)
                device.Gemm(first);
            else
                device.Gemm(first, new AddRule(), Operand.PerColumn(gateBias.Data));
            activation.GatedProduct(device, second, upBias?.Data, gated, output.Data);
        }

        if (keeps)
            tape.Record(new ProductGradient(output, x, gate, up, gateBias, upBias, gated, raised, activation));
        else
            tape.Release(raised);
        return output;
    }

    /// <summary>activation(a) ∘ b of rows [a | b], the result of a product that packs gate and up.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="packed">n × 2m.</param>
    /// <param name="activation">The activation.</param>
    /// <returns>n × m.</returns>
    /// <exception cref="ArgumentException">The number of columns is odd.</exception>
    public static Tensor Gated(this Tape tape, Tensor packed, Activation activation)
    {
        if (packed.Shape.Count == 0 || packed.Columns % 2 != 0)
            throw new ArgumentException($"Gated: rows must have an even number of columns; x is {packed}", nameof(packed));
        int columns = packed.Columns / 2;
        Tensor output = tape.Activation(packed, columns, packed);
        activation.Gate(tape.Device, packed.Rows, columns, Half(packed.Data, 0, columns), null, Half(packed.Data, 1, columns), null, output.Data);
        if (output.RequiresGradient)
            tape.Record(new PackedGradient(output, packed, activation));
        return output;
    }

    /// <summary>The first or second half of each row.</summary>
    private static Operand Half(in Block block, int half, int columns)
    {
        long start = Math.Min(block.Length, (long)half * columns);
        return new Operand(block.Slice(start, block.Length - start), Layout.Full, 2 * columns);
    }

    private sealed class ProductGradient(Tensor output, Tensor x, Tensor gate, Tensor up, Tensor? gateBias, Tensor? upBias, Block gated, Block raised, Activation activation)
        : Operation(output, x, gate, up, gateBias, upBias)
    {
        public override void Backward(Tape tape)
        {
            int rows = Output.Rows, columns = Output.Columns;
            Operand? gateSum = gateBias is { RequiresGradient: true } ? tape.GradientTarget(gateBias, Layout.PerColumn) : null;
            Operand? upSum = upBias is { RequiresGradient: true } ? tape.GradientTarget(upBias, Layout.PerColumn) : null;
            activation.GateBackward(tape.Device, rows, columns, Output.Gradient!.Value, gated, raised, gateSum, upSum);
            LinearOp.ProductGradients(tape, x, gate, gated, columns, transposed: true);
            tape.Release(gated);
            LinearOp.ProductGradients(tape, x, up, raised, columns, transposed: true);
            tape.Release(raised);
        }
    }

    private sealed class PackedGradient(Tensor output, Tensor packed, Activation activation) : Operation(output, packed)
    {
        public override void Backward(Tape tape)
        {
            int columns = Output.Columns;
            Operand target = tape.GradientTarget(packed);
            activation.GateBackward(
                tape.Device, Output.Rows, columns, Output.Gradient!.Value, Half(packed.Data, 0, columns), Half(packed.Data, 1, columns),
                Half(target.Block, 0, columns) with { Accumulate = target.Accumulate }, Half(target.Block, 1, columns) with { Accumulate = target.Accumulate });
        }
    }
}
