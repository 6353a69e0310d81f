using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Several linear layers of one input, side by side in one result, as attention's queries, keys and values.</summary>
public static class LinearPackedOp
{
    /// <summary>[x W₀ᵀ + b₀ | x W₁ᵀ + b₁ | …].</summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="x">… × in.</param>
    /// <param name="weights">Each outᵢ × in.</param>
    /// <param name="biases">As many, outᵢ each; or null.</param>
    /// <returns>… × Σ outᵢ.</returns>
    /// <exception cref="ArgumentException">The sizes do not fit.</exception>
    public static Tensor LinearPacked(this Tape tape, Tensor x, IReadOnlyList<Tensor> weights, IReadOnlyList<Tensor>? biases = null)
    {
        Shapes.NotNull("LinearPacked", weights);
        if (biases is not null && biases.Count != weights.Count)
            throw new ArgumentException($"LinearPacked: {biases.Count} biases for {weights.Count} weights", nameof(biases));
        var inputs = new Tensor?[1 + weights.Count + (biases?.Count ?? 0)];
        inputs[0] = x;
        int outputs = 0, offset = 0;
        for (int i = 0; i < weights.Count; i++)
        {
            outputs += ProductShape.Outputs("LinearPacked", x, weights[i], biases?[i], transposed: true);
            inputs[1 + i] = weights[i];
            if (biases is not null)
                inputs[1 + weights.Count + i] = biases[i];
        }

        Tensor output = tape.Output(x, outputs, inputs);
        bool together = x.Rows <= ProductShape.FewRows && !output.RequiresGradient;
        Products products = together ? new(weights.Count) : default;
        for (int i = 0; i < weights.Count; i++)
        {
            int count = weights[i].Shape[0];
            Block target = From(output.Data, offset);
            var product = new GemmArguments(x.Data, weights[i].Data, target, x.Rows, count, x.Columns) { TransposeB = true, StrideC = outputs };
            if (together)
                products.Add(product);
            else if (biases is null)
                tape.Device.Gemm(product);
            else
                tape.Device.Gemm(product, new AddRule(), Operand.PerColumn(biases[i].Data));
            offset += count;
        }

        if (together)
        {
            products.Run(tape.Device);
            offset = 0;
            for (int i = 0; i < weights.Count && biases is not null; i++)
            {
                int count = weights[i].Shape[0];
                tape.Device.Map(new AddRule(), x.Rows, count, new Operand(From(output.Data, offset), Layout.Full, outputs), Operand.PerColumn(biases[i].Data));
                offset += count;
            }
        }

        if (output.RequiresGradient)
            tape.Record(new Gradient(output, inputs, weights, biases));
        return output;
    }

    private static Block From(Block packed, int offset) => packed.Length == 0 ? packed : packed.Slice(offset, packed.Length - offset);

    private sealed class Gradient(Tensor output, Tensor?[] inputs, IReadOnlyList<Tensor> weights, IReadOnlyList<Tensor>? biases) : Operation(output, inputs)
    {
        public override void Backward(Tape tape)
        {
            Tensor x = Inputs[0]!;
            int rows = Output.Rows, stride = Output.Columns, offset = 0;
            for (int i = 0; i < weights.Count; i++)
            {
                Tensor weight = weights[i];
                int count = weight.Shape[0];
                Block gradient = From(Output.Gradient!.Value, offset);
                if (biases is not null && biases[i].RequiresGradient)
                    tape.Device.Map(new TotalRule(), rows, count, new Operand(gradient, Layout.Full, stride), tape.GradientTarget(biases[i], Layout.PerColumn));
                if (weight.RequiresGradient)
                {
                    Block target = tape.GradientOf(weight, out float beta);
                    tape.Device.Gemm(new GemmArguments(gradient, x.Data, target, count, x.Columns, rows) { TransposeA = true, StrideA = stride, Beta = beta });
                }

                if (x.RequiresGradient)
                {
                    Block target = tape.GradientOf(x, out float beta);
                    tape.Device.Gemm(new GemmArguments(gradient, weight.Data, target, rows, x.Columns, count) { StrideA = stride, Beta = beta });
                }

                offset += count;
            }
        }
    }
}
