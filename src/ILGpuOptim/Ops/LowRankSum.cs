using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>The sum of a matrix and the product of two low-rank factors.</summary>
public static class LowRankSumOp
{
    /// <summary>
    /// W + scale · B A, or W + scale · (B A)ᵀ where W is stored inputs × outputs. LoRA's weight (Hu et al., 2021, equation 3):
    /// computed once a step, so that every operation on a weight can take an adapted one.
    /// </summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="weight">W, outputs × inputs; inputs × outputs when not <paramref name="transposed"/>.</param>
    /// <param name="a">A, rank × inputs.</param>
    /// <param name="b">B, outputs × rank.</param>
    /// <param name="scale">Multiplies the product.</param>
    /// <param name="transposed">W is stored outputs × inputs, as in <see cref="LinearOp.Linear"/>.</param>
    /// <returns>As <paramref name="weight"/>, always f32: in bf16 a small product would vanish beside the weight.</returns>
    /// <exception cref="ArgumentException">The shapes do not fit each other.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The scale is infinite or NaN.</exception>
    public static Tensor LowRankSum(this Tape tape, Tensor weight, Tensor a, Tensor b, float scale, bool transposed)
    {
        Scalars.Finite("LowRankSum", scale, weight);
        CheckShapes(weight, a, b, transposed);
        Tensor output = tape.Output([weight.Shape[0], weight.Shape[1]], weight, a, b);
        tape.Device.Gemm(Product(a, b, output.Data, scale, transposed) with { Precision = tape.Precision }, new AddRule(), weight.Data);
        tape.Record(new Gradient(output, weight, a, b, scale, transposed));
        return output;
    }

    private static void CheckShapes(Tensor weight, Tensor a, Tensor b, bool transposed)
    {
        ProductShape.Matrix("LowRankSum", weight);
        (int inputs, int outputs) = transposed ? (weight.Shape[1], weight.Shape[0]) : (weight.Shape[0], weight.Shape[1]);
        if (a.Shape.Count != 2 || b.Shape.Count != 2 || a.Shape[0] != b.Shape[1] || a.Shape[1] != inputs || b.Shape[0] != outputs)
            throw new ArgumentException($"{ProductShape.Named("LowRankSum", weight)}: a rank × {inputs} and a {outputs} × rank matrix make its {weight}, not {a} and {b}", nameof(a));
    }

    private static GemmArguments Product(Tensor a, Tensor b, Block target, float scale, bool transposed)
    {
        int rank = a.Shape[0], inputs = a.Shape[1], outputs = b.Shape[0];
        return transposed
            ? new GemmArguments(b.Data, a.Data, target, outputs, inputs, rank) { Alpha = scale }
            : new GemmArguments(a.Data, b.Data, target, inputs, outputs, rank) { TransposeA = true, TransposeB = true, Alpha = scale };
    }

    private sealed class Gradient(Tensor output, Tensor weight, Tensor a, Tensor b, float scale, bool transposed) : Operation(output, weight, a, b)
    {
        public override void Backward(Tape tape)
        {
            Block gradient = Output.Gradient!.Value;
            int rank = a.Shape[0], inputs = a.Shape[1], outputs = b.Shape[0];
            if (a.RequiresGradient)
            {
                // Bᵀ G, with G or its transpose as it is stored.
                Block target = tape.GradientOf(a, out float beta);
                tape.Device.Gemm(tape.Product(b.Data, gradient, target, rank, inputs, outputs) with { TransposeA = true, TransposeB = !transposed, Alpha = scale, Beta = beta });
            }

            if (b.RequiresGradient)
            {
                // G Aᵀ.
                Block target = tape.GradientOf(b, out float beta);
                tape.Device.Gemm(tape.Product(gradient, a.Data, target, outputs, rank, inputs) with { TransposeA = !transposed, TransposeB = true, Alpha = scale, Beta = beta });
            }

            tape.PassGradient(Output, weight);
        }
    }
}
