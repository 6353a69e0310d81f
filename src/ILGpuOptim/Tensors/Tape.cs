using ILGpuOptim.Compute;

namespace ILGpuOptim;

/// <summary>
/// Records operations as they run and then takes their gradients in reverse. One tape serves a whole training run:
/// <see cref="Reset"/> between steps returns every activation to the pool, <see cref="Dispose"/> the gradients too.
/// </summary>
/// <remarks>
/// When an operation's gradient has been taken, nothing needs its result any more (whatever reads it was recorded
/// later and is already done), so its memory is free for the rest of the backward pass.
/// </remarks>
public sealed class Tape(Device device) : IDisposable
{
    private readonly List<Operation> operations = [];
    private readonly List<Block> rented = [], discarded = [];

    /// <summary>Where everything runs.</summary>
    public Device Device { get; } = device;

    /// <summary>Whether operations are recorded for a backward pass.</summary>
    public bool IsRecording { get; set; } = true;

    /// <summary>Whether dropout drops.</summary>
    public bool IsTraining { get; set; } = true;

    /// <summary>Counts random draws, so that dropout differs between steps and repeats when a run is resumed.</summary>
    public ulong RandomStream { get; set; }

    /// <summary>Seeds dropout.</summary>
    public ulong Seed { get; set; }

    /// <summary>The gradients of parameters that backward passes of this tape have summed up.</summary>
    public Gradients Gradients { get; } = new(device);

    /// <summary>
    /// Called during the backward pass as soon as a parameter's gradient is complete; a layer-wise optimizer uses the
    /// gradient here and releases it, so that all gradients never exist at once.
    /// </summary>
    public Action<Parameter>? GradientReady { get; set; }

    /// <summary>A new activation with undefined contents; it requires a gradient when any input does and the tape records.</summary>
    public Tensor Output(ReadOnlySpan<int> shape, params ReadOnlySpan<Tensor?> inputs)
    {
        long length = 1;
        foreach (int size in shape)
            length *= size;
        var result = new Tensor(Device, Scratch(length), shape);
        foreach (Tensor? input in inputs)
            result.RequiresGradient |= IsRecording && input is { RequiresGradient: true };
        return result;
    }

    /// <summary>Memory until <see cref="Reset"/>, or until <see cref="Release"/>.</summary>
    public Block Scratch(long length, DType type = DType.F32)
    {
        Block block = Device.Pool.Rent(length, type);
        rented.Add(block);
        return block;
    }

    /// <summary>Gives scratch back early.</summary>
    public void Release(in Block block)
    {
        for (int i = rented.Count - 1; i >= 0; i--)
        {
            if (!ReferenceEquals(rented[i].Memory, block.Memory))
                continue;
            Device.Pool.Return(block);
            rented.RemoveAt(i);
            return;
        }
    }

    /// <summary>Copies token ids, or other indices, to the device until <see cref="Reset"/>.</summary>
    public Block Indices(ReadOnlySpan<int> values)
    {
        Block block = Scratch(values.Length, DType.I32);
        Device.Upload(values, block);
        return block;
    }

    /// <summary>Copies numbers to the device until <see cref="Reset"/>.</summary>
    public Block Numbers(ReadOnlySpan<float> values)
    {
        Block block = Scratch(values.Length);
        Device.Upload(values, block);
        return block;
    }

    /// <summary>Records how to take an operation's gradient. Does nothing when the result needs none.</summary>
    public void Record(Operation operation)
    {
        if (!operation.Output.RequiresGradient)
            return;
        operations.Add(operation);
        foreach (Tensor? input in operation.Inputs)
        {
            if (input is Parameter { RequiresGradient: true } parameter)
                Gradients.Await(parameter);
        }
    }

    /// <summary>
    /// Takes the gradient of a scalar with respect to everything recorded. Parameters' gradients are added to those
    /// already there unless they were cleared.
    /// </summary>
    /// <exception cref="ArgumentException">The loss was not recorded by this tape, or is no scalar.</exception>
    public void Backward(Tensor loss)
    {
        if (!loss.RequiresGradient || loss.Length != 1 || !Recorded(loss))
            throw new ArgumentException("a backward pass begins at a scalar that this tape has recorded since it was reset", nameof(loss));
        loss.Gradient = Scratch(1);
        Device.Fill(loss.Gradient.Value, 1);
        for (int i = operations.Count - 1; i >= 0; i--)
        {
            Operation operation = operations[i];
            Tensor output = operation.Output;
            if (output.Gradient is not null)
                operation.Backward(this);
            foreach (Block block in discarded)
                Release(block);
            discarded.Clear();
            foreach (Tensor? input in operation.Inputs)
            {
                if (input is Parameter { RequiresGradient: true } parameter && Gradients.Completes(parameter))
                    GradientReady?.Invoke(parameter);
            }

            if (output.Gradient is { } gradient)
                Release(gradient);
            output.Gradient = null;
            if (!output.IsKept)
                Release(output.Data);
        }

        operations.Clear();
    }

    private bool Recorded(Tensor result)
    {
        for (int i = operations.Count - 1; i >= 0; i--)
        {
            if (ReferenceEquals(operations[i].Output, result))
                return true;
        }

        return false;
    }

    /// <summary>Where an operation writes an input's gradient, and the factor (0 or 1) of what is already there.</summary>
    public Block GradientOf(Tensor input, out float beta)
    {
        if (input is Parameter parameter)
            return Gradients.Target(parameter, out beta);

        beta = input.Gradient is null ? 0 : 1;
        input.Gradient ??= Scratch(input.Length);
        return input.Gradient.Value;
    }

    /// <summary>
    /// The operand to which a map or a row program writes, or sums, an input's gradient: it accumulates when there is something to add to. When the
    /// input requires no gradient, memory that is thrown away after the operation takes its place.
    /// </summary>
    /// <param name="input">An input of the operation whose gradient is being taken.</param>
    /// <param name="layout">Which elements of the rectangle it has.</param>
    public Operand GradientTarget(Tensor input, Layout layout = Layout.Full)
    {
        if (input.RequiresGradient)
            return new Operand(GradientOf(input, out float beta), layout) { Accumulate = beta != 0 };
        Block ignored = Scratch(input.Length);
        discarded.Add(ignored);
        return new Operand(ignored, layout);
    }

    /// <summary>
    /// Adds <paramref name="output"/>'s gradient to an input of the same size. The memory itself changes hands when
    /// the input has no gradient yet: it is not needed after this operation.
    /// </summary>
    public void PassGradient(Tensor output, Tensor input)
    {
        if (!input.RequiresGradient)
            return;
        if (input is not Parameter && input.Gradient is null)
        {
            input.Gradient = output.Gradient;
            output.Gradient = null;
            return;
        }

        AddToGradient(input, output.Gradient!.Value);
    }

    /// <summary>Adds numbers, which stay as they are, to an input's gradient.</summary>
    internal void AddToGradient(Tensor input, in Block added)
    {
        Block target = GradientOf(input, out float beta);
        if (beta == 0)
            Device.Copy(added, target);
        else
            Device.Map(new AddRule(), 1, input.Length, target, added);
    }

    /// <summary>Returns every activation and forgets what was recorded.</summary>
    public void Reset()
    {
        Gradients.AwaitNothing();
        operations.Clear();
        discarded.Clear();
        for (int i = rented.Count - 1; i >= 0; i--)
        {
            Device.Pool.Return(rented[i]);
            rented.RemoveAt(i);
        }
    }

    /// <summary>Returns every activation and every gradient.</summary>
    public void Dispose()
    {
        Reset();
        Gradients.Release();
    }
}

/// <summary>A recorded operation: what it made, from what, and how to take its gradient.</summary>
/// <param name="output">The result.</param>
/// <param name="inputs">What it was computed from; null where an optional input is missing.</param>
public abstract class Operation(Tensor output, params Tensor?[] inputs)
{
    /// <summary>The result.</summary>
    public Tensor Output { get; } = output;

    /// <summary>What it was computed from; null where an optional input is missing.</summary>
    public IReadOnlyList<Tensor?> Inputs { get; } = inputs;

    /// <summary>Adds to the gradients of the inputs, given that of <see cref="Output"/>.</summary>
    public abstract void Backward(Tape tape);
}
