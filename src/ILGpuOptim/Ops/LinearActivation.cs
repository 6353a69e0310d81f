using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Activations, alone and fused into a product.</summary>
public static class LinearActivationOp
{
    /// <summary>y = activation(x W + bias) in one kernel, or activation(x Wᵀ + bias) when <paramref name="transposed"/>.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">n × in.</param>
    /// <param name="weight">in × out, or out × in when <paramref name="transposed"/>.</param>
    /// <param name="bias">out, or null.</param>
    /// <param name="activation">The activation.</param>
    /// <param name="transposed">The weight is stored out × in.</param>
    /// <returns>n × out.</returns>
    /// <exception cref="ArgumentException">The sizes do not fit.</exception>
    public static Tensor LinearActivation(this Tape tape, Tensor x, Tensor weight, Tensor? bias, Activation activation, bool transposed = false)
    {
        int outputs = ProductShape.Outputs("LinearActivation", x, weight, bias, transposed);
        x = tape.Floats(x);
        Tensor output = tape.Activation(x, outputs, x, weight, bias);
        Block? before = output.RequiresGradient ? tape.Scratch(output.Length, output.Memory.Type) : null;
        activation.Product(tape.Device, tape.Product(x.Data, weight.Data, output.Data, x.Rows, outputs, x.Columns) with { TransposeB = transposed }, bias?.Data, before);
        if (before is { } kept)
            tape.Record(new Gradient(output, x, weight, bias, kept, activation, transposed));
        return output;
    }

    /// <summary>activation(x), element by element.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="activation">The activation.</param>
    /// <returns>x's shape.</returns>
    public static Tensor Activate(this Tape tape, Tensor x, Activation activation)
    {
        Shapes.NotNull("Activate", activation);
        return activation.Apply(tape, x);
    }

    private sealed class Gradient(Tensor output, Tensor x, Tensor weight, Tensor? bias, Block before, Activation activation, bool transposed)
        : Operation(output, x, weight, bias)
    {
        public override void Backward(Tape tape)
        {
            Block gradient = Output.Gradient!.Value;
            activation.Backward(tape.Device, Output.Rows, Output.Columns, gradient, before, bias is { RequiresGradient: true } ? tape.GradientTarget(bias, Layout.PerColumn) : null);
            tape.Release(before);
            LinearOp.ProductGradients(tape, x, weight, gradient, Output.Columns, transposed);
        }
    }
}
