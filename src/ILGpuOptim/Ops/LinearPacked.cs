using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Several linear layers of one input, side by side in one result, as attention's queries, keys and values.</summary>
public static class LinearPackedOp
{
    /// <summary>[x W₀ᵀ + b₀ | x W₁ᵀ + b₁ | …].</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">… × in.</param>
    /// <param name="weights">Each outᵢ × in.</param>
    /// <param name="biases">As many, outᵢ each; or none.</param>
    /// <returns>… × Σ outᵢ.</returns>
    /// <exception cref="ArgumentException">The sizes do not fit.</exception>
    public static Tensor LinearPacked(this Tape tape, Tensor x, ReadOnlySpan<Tensor> weights, ReadOnlySpan<Tensor> biases = default)
    {
        bool hasBiases = biases.Length > 0;
        if (hasBiases && biases.Length != weights.Length)
            throw new ArgumentException($"LinearPacked: {biases.Length} biases for {weights.Length} weights", nameof(biases));
        int outputs = 0, offset = 0;
        for (int i = 0; i < weights.Length; i++)
            outputs += ProductShape.Outputs("LinearPacked", x, weights[i], hasBiases ? biases[i] : null, transposed: true);
        Tensor?[] inputs = [x, .. weights, .. biases];
        Tensor output = tape.Activation(x, outputs, inputs);
        bool together = x.Rows <= ProductShape.FewRows && !output.RequiresGradient;
        Products products = together ? new(weights.Length) : default;
        for (int i = 0; i < weights.Length; i++)
        {
            int count = weights[i].Rows;
            Block target = From(output.Data, offset);
            var product = tape.Product(x.Data, weights[i].Data, target, x.Rows, count, x.Columns) with { TransposeB = true, StrideC = outputs };
            if (together)
                products.Add(product);
            else if (hasBiases)
                tape.Device.Gemm(product, new AddRule(), Operand.PerColumn(biases[i].Data));
            else
                tape.Device.Gemm(product);
            offset += count;
        }

        if (together)
        {
            products.Run(tape.Device);
            offset = 0;
            for (int i = 0; i < biases.Length; i++)
            {
                int count = weights[i].Rows;
                tape.Device.Map(new AddRule(), x.Rows, count, new Operand(From(output.Data, offset), Layout.Full, outputs), Operand.PerColumn(biases[i].Data));
                offset += count;
            }
        }

        if (output.RequiresGradient)
            tape.Record(new Gradient(output, inputs, weights.Length));
        return output;
    }

    private static Block From(Block packed, int offset) => packed.Length == 0 ? packed : packed.Slice(offset, packed.Length - offset);

    /// <param name="output">The result.</param>
    /// <param name="inputs">x, the weights, the biases.</param>
    /// <param name="weights">The number of weights.</param>
    private sealed class Gradient(Tensor output, Tensor?[] inputs, int weights) : Operation(output, inputs)
    {
        public override void Backward(Tape tape)
        {
            Tensor x = Inputs[0]!;
            int rows = Output.Rows, stride = Output.Columns, offset = 0;
            for (int i = 0; i < weights; i++)
            {
                Tensor weight = Inputs[1 + i]!;
                int count = weight.Rows;
                Block gradient = From(Output.Gradient!.Value, offset);
                if (Inputs.Count > 1 + weights && Inputs[1 + weights + i] is { RequiresGradient: true } bias)
                    tape.Device.Map(new TotalRule(), rows, count, new Operand(gradient, Layout.Full, stride), tape.GradientTarget(bias, Layout.PerColumn));
                if (weight.RequiresGradient)
                {
                    Block target = tape.GradientOf(weight, out float beta);
                    tape.Device.Gemm(tape.Product(gradient, x.Data, target, count, x.Columns, rows) with { TransposeA = true, StrideA = stride, Beta = beta });
                }

                if (x.RequiresGradient)
                {
                    Block target = tape.GradientOf(x, out float beta);
                    tape.Device.Gemm(tape.Product(gradient, weight.Data, target, rows, x.Columns, count) with { StrideA = stride, Beta = beta });
                }

                offset += count;
            }
        }
    }
}
