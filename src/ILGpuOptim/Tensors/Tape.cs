using ILGpuOptim.Compute;

namespace ILGpuOptim;

/// <summary>
/// Records operations as they run and then takes their gradients in reverse. One tape serves a whole training run: <see cref="Reset"/> between
/// steps returns every result to the pool, <see cref="Dispose"/> the gradients too. Two tapes may share a model, not tensors.
/// </summary>
/// <remarks>
/// <para>An operation takes a result from <see cref="Output(ReadOnlySpan{int}, ReadOnlySpan{Tensor?})"/>, which it tells all of its inputs, launches what computes it, and hands
/// an <see cref="Operation"/> to <see cref="Record"/>. The result's <see cref="Tensor.RequiresGradient"/> says whether a backward pass can follow, which
/// then reads memory from <see cref="Scratch"/>.</para>
/// <para>When an operation's gradient has been taken, nothing needs its result any more (whatever reads it was recorded
/// later and is already done), so its memory is free for the rest of the backward pass.</para>
/// </remarks>
public sealed partial class Tape(Device device) : IDisposable
{
    private readonly List<Operation> operations = [];
    private readonly List<Block> rented = [], discarded = [];

    /// <summary>Counts recordings, which a backward pass or a reset ends: a tensor of an earlier one has no operations any more.</summary>
    private long recording = 1;

    private bool isDisposed;

    /// <summary>The device that runs all operations.</summary>
    public Device Device { get; } = device ?? throw new ArgumentNullException(nameof(device));

    /// <summary>Enables recording operations for a backward pass.</summary>
    public bool IsRecording { get; set; } = true;

    /// <summary>Enables dropout.</summary>
    public bool IsTraining { get; set; } = true;

    /// <summary>
    /// How products and attention multiply, and with <see cref="Precision.BF16"/> also how operations of transformers store their results and the gradients
    /// of these: in bf16. Losses, statistics of rows, gradients of parameters and results of other operations are f32 always, as are all sums.
    /// </summary>
    public Precision Precision { get; init; }

    /// <summary>How operations of transformers store their results.</summary>
    internal DType ActivationType => Precision == Precision.BF16 ? DType.BF16 : DType.F32;

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

    /// <summary>Called between operations, of the forward and of the backward pass; null: nothing is.</summary>
    internal Action? BetweenOperations { get; set; }

    /// <summary>A new f32 result with undefined contents; it requires a gradient when any input does and the tape records.</summary>
    /// <param name="shape">Its sizes.</param>
    /// <param name="inputs">What it is computed from; null where an optional input is missing.</param>
    /// <exception cref="ArgumentException">An input belongs to another tape, or the shape has more than 2⁶⁰ elements.</exception>
    /// <exception cref="InvalidOperationException">An input was recorded before the last backward pass or reset, which ended its recording.</exception>
    /// <exception cref="ObjectDisposedException">An input's memory was returned, or the tape was disposed.</exception>
    public Tensor Output(ReadOnlySpan<int> shape, params ReadOnlySpan<Tensor?> inputs) => Typed(DType.F32, shape, inputs);

    internal Tensor Typed(DType type, ReadOnlySpan<int> shape, params ReadOnlySpan<Tensor?> inputs)
    {
        bool requires = Read(inputs);
        foreach (int size in shape)
            ArgumentOutOfRangeException.ThrowIfNegative(size, nameof(shape));
        return Result(Tensor.LengthOf(shape), shape.ToArray(), type, requires);
    }

    /// <summary>A new result of the shape of an input but for the last size. As <see cref="Output(ReadOnlySpan{int}, ReadOnlySpan{Tensor?})"/>.</summary>
    /// <param name="like">Whose sizes it has; with at least one axis, or a scalar, which counts as one element in a row.</param>
    /// <param name="columns">The last size.</param>
    /// <param name="inputs">What it is computed from.</param>
    public Tensor Output(Tensor like, int columns, params ReadOnlySpan<Tensor?> inputs) => Typed(DType.F32, like, columns, inputs);

    private Tensor Typed(DType type, Tensor like, int columns, ReadOnlySpan<Tensor?> inputs)
    {
        int[] sizes = like.Sizes();
        if (sizes.Length == 0 && columns != 1)
            return Typed(type, [columns], inputs);
        bool requires = Read(inputs);
        if (like.Columns == columns)
            return Result(like.Length, sizes, type, requires);
        ArgumentOutOfRangeException.ThrowIfNegative(columns);
        sizes = [.. sizes];
        sizes[^1] = columns;
        return Result(Tensor.LengthOf(sizes), sizes, type, requires);
    }

    /// <summary>As <see cref="Output(ReadOnlySpan{int}, ReadOnlySpan{Tensor?})"/>, in the type of activations.</summary>
    internal Tensor Activation(ReadOnlySpan<int> shape, params ReadOnlySpan<Tensor?> inputs) => Typed(ActivationType, shape, inputs);

    /// <summary>As <see cref="Output(Tensor, int, ReadOnlySpan{Tensor?})"/>, in the type of activations.</summary>
    internal Tensor Activation(Tensor like, int columns, params ReadOnlySpan<Tensor?> inputs) => Typed(ActivationType, like, columns, inputs);

    /// <summary>The type of an element-wise result: bf16 if the inputs that are not parameters are, and there are any.</summary>
    internal static DType TypeOf(params ReadOnlySpan<Tensor> inputs)
    {
        bool isNarrow = false;
        foreach (Tensor input in inputs)
        {
            if (input is Parameter)
                continue;
            if (input.Memory.Type != DType.BF16)
                return DType.F32;
            isNarrow = true;
        }

        return isNarrow ? DType.BF16 : DType.F32;
    }

    private Tensor Result(long length, int[] shape, DType type, bool requires)
    {
        BetweenOperations?.Invoke();
        return new(Scratch(length, type), shape) { Tape = this, Recording = recording, RequiresGradient = requires };
    }

    /// <summary>Checks the inputs of an operation.</summary>
    /// <returns>True if its result requires a gradient.</returns>
    private bool Read(ReadOnlySpan<Tensor?> inputs)
    {
        bool requires = false;
        foreach (Tensor? input in inputs)
        {
            if (input is null)
                continue;
            Check(input);
            requires |= input.RequiresGradient;
            if (isCounting)
                Count(input);
        }

        return requires && IsRecording;
    }

    /// <summary>
    /// Another shape over a tensor's memory, or over a part of it, which goes back when the tensor's does. The operation that makes it passes its gradient on
    /// to the tensor.
    /// </summary>
    internal Tensor View(Tensor x, ReadOnlySpan<int> shape, long start = 0)
    {
        CheckOpen();
        Check(x);
        if (isCounting)
            Count(x);
        return new Tensor(x, shape, start) { Tape = this, Recording = recording, RequiresGradient = x.RequiresGradient && IsRecording };
    }

    /// <summary>The same elements as an input that passes no gradient on. It shares the tensor's memory.</summary>
    /// <param name="x">A tensor of this tape, or a parameter.</param>
    public Tensor Detach(Tensor x)
    {
        CheckOpen();
        ArgumentNullException.ThrowIfNull(x);
        if (x.Tape is not null && x.Tape != this)
            throw OfAnotherTape(x);
        return new Tensor(x, x.Sizes()) { Tape = this, Recording = recording };
    }

    /// <summary>Memory until <see cref="Reset"/>, until <see cref="Release"/>, or until the end of a <see cref="Scope"/>; its contents are undefined.</summary>
    /// <param name="length">The number of elements.</param>
    /// <param name="type">How they are stored.</param>
    /// <exception cref="DeviceMemoryException">The device has no room.</exception>
    /// <exception cref="ObjectDisposedException">The tape was disposed.</exception>
    public Block Scratch(long length, DType type = DType.F32)
    {
        CheckOpen();
        Block block = Device.Pool.Rent(length, type);
        rented.Add(block);
        return block;
    }

    /// <summary>Returns a block of <see cref="Scratch"/> early. A block that was returned before, or is not the tape's, is ignored.</summary>
    /// <param name="block">The block.</param>
    public void Release(in Block block)
    {
        if (block.IsReturned)
            return;
        int index = IndexOf(block, 0);
        if (index < 0)
            return;
        Device.Pool.Return(rented[index]);
        RemoveRented(index);
    }

    /// <summary>Copies token ids, or other indices, to the device; the memory returns at <see cref="Reset"/>.</summary>
    /// <param name="values">The indices.</param>
    /// <returns>As many I32 elements.</returns>
    public Block Indices(ReadOnlySpan<int> values)
    {
        Block block = Scratch(values.Length, DType.I32);
        Device.Upload(values, block);
        return block;
    }

    /// <summary>Copies values to the device; the memory returns at <see cref="Reset"/>.</summary>
    /// <param name="values">The values.</param>
    /// <returns>As many F32 elements.</returns>
    public Block Values(ReadOnlySpan<float> values)
    {
        Block block = Scratch(values.Length);
        Device.Upload(values, block);
        return block;
    }

    /// <summary>Records how to take an operation's gradient. Does nothing when the result needs none.</summary>
    /// <exception cref="ArgumentException">An input belongs to another tape.</exception>
    public void Record(Operation operation)
    {
        if (!operation.Output.RequiresGradient)
            return;
        foreach (Tensor? input in operation.Inputs)
        {
            if (input?.Tape is { } tape && tape != this)
                throw OfAnotherTape(input);
        }

        operations.Add(operation);
        foreach (Tensor? input in operation.Inputs)
        {
            if (input is Parameter { RequiresGradient: true } parameter)
                Gradients.Await(parameter);
        }
    }

    /// <summary>Returns every result and forgets what was recorded. Gradients of parameters stay.</summary>
    public void Reset()
    {
        recording++;
        Gradients.AwaitNothing();
        operations.Clear();
        discarded.Clear();
        ResetScopes();
        ReturnFrom(0);
    }

    /// <summary>Returns every result and every gradient. The tape cannot be used afterwards; a second call does nothing.</summary>
    public void Dispose()
    {
        if (isDisposed)
            return;
        isDisposed = true;
        Reset();
        Gradients.Release();
    }

    /// <summary>The message for reads of a tensor of this tape after its memory was returned.</summary>
    internal string WhyReturned(Tensor x) => x.WasReleased
        ? $"a tensor of shape {x} is read after a backward pass, which returns the results of operations; set its IsKept before Backward, or read it before"
        : $"a tensor of shape {x} is read after its tape was reset or disposed, or after the scope that made it; read it before, or keep it with TapeScope.Keep";

    private void CheckOpen() => ObjectDisposedException.ThrowIf(isDisposed, this);

    private void Check(Tensor input)
    {
        if (input.Tape is null)
            return;
        if (input.Tape != this)
            throw OfAnotherTape(input);
        input.CheckMemory();
        if (input.RequiresGradient && input.Recording != recording && IsRecording)
            throw OfAnEarlierRecording(input);
    }

    private static InvalidOperationException OfAnEarlierRecording(Tensor x) =>
        new($"a tensor of shape {x} was recorded before the last backward pass or reset, so no gradient can pass through it; compute it again, or use Tape.Detach to take it as a constant");

    private static ArgumentException OfAnotherTape(Tensor x) =>
        new($"a tensor of shape {x} belongs to another tape; tapes may share parameters but not results: compute it on this tape, or copy its values");

    private int IndexOf(in Block block, int first)
    {
        for (int i = rented.Count - 1; i >= first; i--)
        {
            if (ReferenceEquals(rented[i].Memory, block.Memory))
                return i;
        }

        return -1;
    }
}

/// <summary>A recorded operation: what it made, from what, and how to take its gradient.</summary>
/// <param name="output">The result.</param>
/// <param name="inputs">The inputs; null where an optional one is missing.</param>
public abstract class Operation(Tensor output, params Tensor?[] inputs)
{
    /// <summary>The result.</summary>
    public Tensor Output { get; } = output;

    /// <summary>The inputs; null where an optional one is missing.</summary>
    public IReadOnlyList<Tensor?> Inputs { get; } = inputs;

    /// <summary>Adds to the gradients of the inputs, given that of <see cref="Output"/>.</summary>
    public abstract void Backward(Tape tape);
}
