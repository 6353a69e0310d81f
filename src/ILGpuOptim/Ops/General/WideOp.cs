using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Conversion between storage types, for operations that read some only.</summary>
internal static class WideOp
{
    /// <summary>The tensor itself, or an f32 copy of it whose gradient is the tensor's.</summary>
    public static Tensor Wide(this Tape tape, Tensor x) => tape.As(x, DType.F32);

    /// <summary>The tensor itself if it is f32 or bf16, or an f32 copy of it.</summary>
    public static Tensor Floats(this Tape tape, Tensor x)
    {
        ArgumentNullException.ThrowIfNull(x);
        return x.Memory.Type == DType.BF16 ? x : tape.Wide(x);
    }

    /// <summary>The tensor itself, or a copy of another type whose gradient is the tensor's.</summary>
    public static Tensor As(this Tape tape, Tensor x, DType type)
    {
        ArgumentNullException.ThrowIfNull(x);
        if (x.Memory.Type == type)
            return x;
        Tensor output = tape.Typed(type, x.Sizes(), x);
        tape.Device.Map(new CopyRule(), x.Rows, x.Columns, x.Data, output.Data);
        tape.Record(new Gradient(output, x));
        return output;
    }

    private sealed class Gradient(Tensor output, Tensor x) : Operation(output, x)
    {
        public override void Backward(Tape tape) => tape.PassGradient(Output, x);
    }
}
