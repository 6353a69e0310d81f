using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Element-wise functions. Their gradients come from running them on dual lanes.</summary>
public static partial class ApplyOp
{
    private const string Name = "Apply";

    /// <summary>f(x), element-wise: one kernel, and one for the gradient.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="function">The function.</param>
    /// <param name="x">Any shape.</param>
    /// <returns>x's shape.</returns>
    public static Tensor Apply<F>(this Tape tape, F function, Tensor x) where F : unmanaged, IFunction1
    {
        x = tape.Floats(x);
        Tensor output = tape.Typed(Tape.TypeOf(x), x.Sizes(), x);
        tape.Device.Map(new Forward1<F>(function), 1, x.Length, x.Data, output.Data);
        tape.Record(new Gradient1<F>(function, output, x));
        return output;
    }

    /// <summary>f(x, y), element-wise, of inputs that are broadcast to each other as in NumPy: one kernel, and one for all gradients.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="function">The function.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="y">Any shape that can be broadcast with x's: sizes are aligned at the last axis, and an axis of size 1 is repeated.</param>
    /// <returns>The shape that all inputs are broadcast to.</returns>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast to each other.</exception>
    public static Tensor Apply<F>(this Tape tape, F function, Tensor x, Tensor y) where F : unmanaged, IFunction2 => tape.Apply(Name, function, x, y);

    /// <summary>The same, with the name of the operation for messages.</summary>
    internal static Tensor Apply<F>(this Tape tape, string operation, F function, Tensor x, Tensor y) where F : unmanaged, IFunction2
    {
        FunctionInputs inputs = FunctionInputs.Of(tape, operation, x, y);
        Tensor output = tape.Typed(inputs.Type, inputs.Shape.Sizes, [.. inputs.Tensors]);
        tape.Device.Map(new Forward2<F>(function), inputs.Shape.Rows, inputs.Shape.Columns, inputs.Operand(0), inputs.Operand(1), output.Data);
        tape.Record(new Gradient2<F>(function, output, inputs));
        return output;
    }

    /// <summary>f(x, y, z); otherwise as for two inputs.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="function">The function.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="y">Any shape that can be broadcast with the others.</param>
    /// <param name="z">Any shape that can be broadcast with the others.</param>
    /// <returns>The shape that all inputs are broadcast to.</returns>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast to each other.</exception>
    public static Tensor Apply<F>(this Tape tape, F function, Tensor x, Tensor y, Tensor z) where F : unmanaged, IFunction3 => tape.Apply(Name, function, x, y, z);

    /// <summary>The same, with the name of the operation for messages.</summary>
    internal static Tensor Apply<F>(this Tape tape, string operation, F function, Tensor x, Tensor y, Tensor z) where F : unmanaged, IFunction3
    {
        FunctionInputs inputs = FunctionInputs.Of(tape, operation, x, y, z);
        Tensor output = tape.Typed(inputs.Type, inputs.Shape.Sizes, [.. inputs.Tensors]);
        tape.Device.Map(new Forward3<F>(function), inputs.Shape.Rows, inputs.Shape.Columns, inputs.Operand(0), inputs.Operand(1), inputs.Operand(2), output.Data);
        tape.Record(new Gradient3<F>(function, output, inputs));
        return output;
    }
}
