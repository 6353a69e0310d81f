using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>The inputs of a recorded function, broadcast to each other.</summary>
internal sealed class FunctionInputs
{
    private readonly Tensor[] tensors;

    private FunctionInputs(FunctionShape shape, Tensor[] tensors) => (Shape, this.tensors) = (shape, tensors);

    /// <summary>The rectangle that they are broadcast to.</summary>
    public FunctionShape Shape { get; }

    /// <summary>The inputs, in the order of the function's arguments.</summary>
    public IReadOnlyList<Tensor> Tensors => tensors;

    /// <summary>The type of a result.</summary>
    public DType Type { get; private init; }

    /// <summary>Broadcasts inputs to each other; those that are not rows, columns or scalars of one rectangle are repeated in memory.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="operation">The name of the operation for messages.</param>
    /// <param name="tensors">The inputs.</param>
    /// <exception cref="ArgumentException">Their shapes do not fit.</exception>
    public static FunctionInputs Of(Tape tape, string operation, params Tensor[] tensors)
    {
        Tensor[] fitted = tape.Fit(operation, tensors);
        return new FunctionInputs(FunctionShape.Of(fitted), fitted) { Type = Tape.TypeOf(tensors) };
    }

    /// <summary>An input as an operand of the rectangle.</summary>
    public Operand Operand(int index) => new(tensors[index].Data, Shape.Layouts[index]);

    /// <summary>The slot of the gradient of an input.</summary>
    public Slot SlotOf(int index) =>
        !tensors[index].RequiresGradient ? Slot.None : Shape.Layouts[index] == Layout.Full ? Slot.Write : Slot.Sum;
}

/// <summary>The targets of one backward kernel. The result's gradient is not needed afterwards, so the gradient of an input may take its memory.</summary>
/// <param name="tape">The tape of the backward pass.</param>
/// <param name="output">The function's result.</param>
/// <param name="inputs">Its inputs.</param>
internal sealed class GradientTargets(Tape tape, Tensor output, FunctionInputs inputs)
{
    private readonly List<(Tensor Tensor, Block Sum)> repeated = [];
    private readonly Block gradient = output.Gradient!.Value;
    private Tensor? inPlace;

    /// <summary>The gradient of the result.</summary>
    public Operand Gradient => gradient;

    /// <summary>Makes an input's gradient take the memory of <see cref="Gradient"/>.</summary>
    public void TakeGradient(int index) => inPlace = inputs.Tensors[index];

    /// <summary>The operand for the gradient of an input; any operand if it requires none.</summary>
    public Operand Of(int index)
    {
        Tensor tensor = inputs.Tensors[index];
        Slot slot = inputs.SlotOf(index);
        if (slot == Slot.None)
            return gradient;
        if (inPlace is null && slot == Slot.Write && tensor is not Parameter && tensor.Gradient is null)
        {
            inPlace = tensor;
            return gradient;
        }

        Layout layout = inputs.Shape.Layouts[index];
        bool twice = ReferenceEquals(tensor, inPlace);
        for (int k = 0; k < index; k++)
            twice |= ReferenceEquals(tensor, inputs.Tensors[k]);
        if (!twice)
            return tape.GradientTarget(tensor, layout);
        Block sum = tape.Scratch(tensor.Length);
        repeated.Add((tensor, sum));
        return new Operand(sum, layout);
    }

    /// <summary>After the kernel: adds up the gradients of a tensor that is passed as several arguments.</summary>
    public void Complete()
    {
        if (inPlace is not null)
            tape.PassGradient(output, inPlace);
        foreach ((Tensor tensor, Block sum) in repeated)
        {
            tape.AddToGradient(tensor, sum);
            tape.Release(sum);
        }
    }
}
