using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Conversion of parameters stored in fewer than 32 bits for operations that read f32.</summary>
internal static class WideOp
{
    /// <summary>The tensor itself, or an f32 copy of it whose gradient is the tensor's.</summary>
    public static Tensor Wide(this Tape tape, Tensor x)
    {
        ArgumentNullException.ThrowIfNull(x);
        if (x.Memory.Type == DType.F32)
            return x;
        Tensor output = tape.Output(x.Sizes(), x);
        tape.Device.Map(new CopyRule(), x.Rows, x.Columns, x.Data, output.Data);
        tape.Record(new Gradient(output, x));
        return output;
    }

    private sealed class Gradient(Tensor output, Tensor x) : Operation(output, x)
    {
        public override void Backward(Tape tape) => tape.PassGradient(Output, x);
    }
}
