using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Element-wise sums.</summary>
public static class AddOp
{
    /// <summary>x + y of the same shape.</summary>
    public static Tensor Add(this Tape tape, Tensor x, Tensor y)
    {
        if (x.Length != y.Length)
            throw new ArgumentException($"cannot add {y} to {x}", nameof(y));
        Tensor output = tape.Output([x.Rows, x.Columns], x, y);
        tape.Device.Map(new SumRule(), 1, x.Length, x.Data, y.Data, output.Data);
        tape.Record(new Gradient(output, x, y));
        return output;
    }

    private sealed class Gradient(Tensor output, Tensor x, Tensor y) : Operation(output, x, y)
    {
        public override void Backward(Tape tape)
        {
            // The second may take the memory of the output's gradient, which the first reads.
            if (y.RequiresGradient)
                tape.AddToGradient(y, Output.Gradient!.Value);
            tape.PassGradient(Output, x);
        }
    }
}
