using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Matrix products with weights.</summary>
public static class LinearOp
{
    /// <summary>
    /// y = x W + bias + residual, or x Wᵀ when <paramref name="transposed"/>, as one product with an epilogue.
    /// </summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">… × in.</param>
    /// <param name="weight">in × out (GPT-2's files), or out × in when <paramref name="transposed"/> (all other families).</param>
    /// <param name="bias">out, or null.</param>
    /// <param name="residual">… × out, or null.</param>
    /// <param name="transposed">The weight is stored out × in.</param>
    /// <returns>… × out.</returns>
    /// <exception cref="ArgumentException">The sizes do not fit.</exception>
    public static Tensor Linear(this Tape tape, Tensor x, Tensor weight, Tensor? bias, Tensor? residual = null, bool transposed = false)
    {
        int outputs = ProductShape.Outputs("Linear", x, weight, bias, transposed);
        ProductShape.Added("Linear", weight, x, outputs, residual);
        (x, residual) = (tape.Floats(x), residual is null ? null : tape.Floats(residual));
        Tensor output = tape.Activation(x, outputs, x, weight, bias, residual);
        var product = tape.Product(x.Data, weight.Data, output.Data, x.Rows, outputs, x.Columns) with { TransposeB = transposed };
        Device device = tape.Device;
        if (bias is not null && residual is not null)
            device.Gemm(product, new AddTwoRule(), Operand.PerColumn(bias.Data), residual.Data);
        else if (bias is not null)
            device.Gemm(product, new AddRule(), Operand.PerColumn(bias.Data));
        else if (residual is not null)
            device.Gemm(product, new AddRule(), residual.Data);
        else
            device.Gemm(product);
        if (output.RequiresGradient)
            tape.Record(new Gradient(output, x, weight, bias, residual, transposed));
        return output;
    }

    /// <summary>The gradients of x W with respect to both factors, given that of the product.</summary>
    internal static void ProductGradients(Tape tape, Tensor x, Tensor weight, Block gradient, int outputs, bool transposed)
    {
        int rows = x.Rows, inputs = x.Columns;
        if (weight.RequiresGradient)
        {
            Block target = tape.GradientOf(weight, out float beta);
            tape.Device.Gemm(transposed
                ? tape.Product(gradient, x.Data, target, outputs, inputs, rows) with { TransposeA = true, Beta = beta }
                : tape.Product(x.Data, gradient, target, inputs, outputs, rows) with { TransposeA = true, Beta = beta });
        }

        if (x.RequiresGradient)
        {
            Block target = tape.GradientOf(x, out float beta);
            tape.Device.Gemm(tape.Product(gradient, weight.Data, target, rows, inputs, outputs) with { TransposeB = !transposed, Beta = beta });
        }
    }

    private sealed class Gradient(Tensor output, Tensor x, Tensor weight, Tensor? bias, Tensor? residual, bool transposed)
        : Operation(output, x, weight, bias, residual)
    {
        public override void Backward(Tape tape)
        {
            Block gradient = Output.Gradient!.Value;
            if (bias is { RequiresGradient: true })
                tape.Device.Map(new TotalRule(), Output.Rows, Output.Columns, gradient, tape.GradientTarget(bias, Layout.PerColumn));
            ProductGradients(tape, x, weight, gradient, Output.Columns, transposed);
            if (residual is not null)
                tape.PassGradient(Output, residual);
        }
    }
}
