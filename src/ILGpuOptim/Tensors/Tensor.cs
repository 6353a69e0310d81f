using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim;

/// <summary>
/// An array of elements on a device, with any number of axes. Results of operations belong to the <see cref="ILGpuOptim.Tape"/> that made them: it
/// frees them when their gradient has been taken, or when it is reset. Nobody disposes single tensors; reading one whose memory was returned is an
/// <see cref="ObjectDisposedException"/>.
/// </summary>
public class Tensor
{
    private readonly int[] shape;
    private readonly Tensor? memoryOf;
    private Block data;
    private bool isKept, wasReleased;

    /// <summary>Wraps device memory.</summary>
    /// <param name="device">Where the memory is.</param>
    /// <param name="data">The elements, row-major.</param>
    /// <param name="shape">The sizes; their product is the number of elements.</param>
    /// <exception cref="ArgumentException">The sizes do not make as many elements as the memory has.</exception>
    public Tensor(Device device, Block data, params ReadOnlySpan<int> shape)
    {
        Device = device;
        this.data = data;
        this.shape = shape.ToArray();
        foreach (int size in shape)
            ArgumentOutOfRangeException.ThrowIfNegative(size, nameof(shape));
        if (LengthOf(shape) != data.Length)
            throw new ArgumentException($"a tensor of shape {this} has {LengthOf(shape)} elements, not the {data.Length} of its memory", nameof(shape));
    }

    /// <summary>A result over memory of as many elements as its shape has. The array becomes the tensor's: tensors share it, and nothing changes it.</summary>
    internal Tensor(in Block data, int[] shape) => (Device, this.data, this.shape) = (data.Memory.Device, data, shape);

    /// <summary>Another shape over the memory of a tensor, or over a part of it.</summary>
    internal Tensor(Tensor memoryOf, ReadOnlySpan<int> shape, long start = 0)
        : this(memoryOf.Device, memoryOf.Data.Slice(start, LengthOf(shape)), shape) => this.memoryOf = memoryOf;

    /// <summary>The device that holds the elements.</summary>
    public Device Device { get; }

    /// <summary>The tape whose operation made the tensor; null for parameters and for memory from elsewhere.</summary>
    public Tape? Tape { get; internal init; }

    /// <summary>The elements, row-major. Waits for those of a parameter that are under way from other ranks; then operations on it throw the same errors.</summary>
    /// <exception cref="ObjectDisposedException">The memory was returned.</exception>
    /// <exception cref="Distributed.CommunicationException">Another rank failed or did not answer in time before the parameter had arrived.</exception>
    /// <exception cref="InvalidOperationException">The exchange of the parameter with other ranks failed before.</exception>
    public Block Data
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get
        {
            CheckMemory();
            if (memoryOf is not null || this is Parameter)
                Await();
            return data;
        }

        internal set => data = value;
    }

    /// <summary>True if the memory was returned.</summary>
    private bool IsReturned
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => data.IsReturned || Device.IsDisposed;
    }

    /// <summary>The elements, which may have been returned, or be under way from other ranks.</summary>
    internal Block Memory => data;

    /// <summary>The sizes, outermost first; none for a scalar.</summary>
    public IReadOnlyList<int> Shape => shape;

    /// <summary>The sizes as an array, which nobody may change.</summary>
    internal int[] Sizes() => shape;

    /// <summary>The number of elements.</summary>
    public long Length => data.Length;

    /// <summary>The last size; 1 for a scalar.</summary>
    public int Columns
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => shape.Length == 0 ? 1 : shape[^1];
    }

    /// <summary>The product of all sizes but the last: a tensor is this many rows of <see cref="Columns"/> elements.</summary>
    /// <exception cref="NotSupportedException">There are more than 2³¹ - 1.</exception>
    public int Rows => shape.Length == 2 ? shape[0] : LeadingLength();

    /// <summary>
    /// The gradient of the loss, once a backward pass has reached this result of an operation; laid out and stored as the data. Those of parameters are in
    /// <see cref="Tape.Gradients"/>.
    /// </summary>
    public Block? Gradient { get; internal set; }

    /// <summary>True if the gradient is exactly one, because a backward pass began here.</summary>
    internal bool HasUnitGradient { get; set; }

    /// <summary>True if a backward pass takes a gradient with respect to the tensor.</summary>
    public bool RequiresGradient { get; internal set; }

    /// <summary>
    /// Keeps the data readable after the backward pass, until the tape is reset. A view keeps the tensor whose memory it shares.
    /// </summary>
    public bool IsKept
    {
        get => memoryOf?.IsKept ?? isKept;
        set
        {
            if (memoryOf is null)
                isKept = value;
            else
                memoryOf.IsKept = value;
        }
    }

    /// <summary>True if the memory is that of another tensor, with which it is returned.</summary>
    internal bool IsView => memoryOf is not null;

    /// <summary>The recording that made the tensor, as its tape counts them.</summary>
    internal long Recording { get; init; }

    /// <summary>True if a backward pass returned the memory.</summary>
    internal bool WasReleased
    {
        get => memoryOf?.WasReleased ?? wasReleased;
        set => wasReleased = value;
    }

    /// <summary>The part of a backward pass that computed the tensor again.</summary>
    internal int Region { get; set; }

    /// <summary>Copies the elements to the host; waits for the device.</summary>
    /// <exception cref="ObjectDisposedException">The memory was returned.</exception>
    /// <exception cref="Distributed.CommunicationException">Another rank failed before the parameter had arrived (<see cref="Data"/>).</exception>
    /// <exception cref="InvalidOperationException">The exchange of the parameter with other ranks failed before.</exception>
    public virtual float[] ToArray()
    {
        Block source = Data;
        var result = new float[Length];
        Device.Download(source, result);
        return result;
    }

    /// <summary>The one element of a scalar, or of a tensor of one element; waits for the device.</summary>
    /// <exception cref="InvalidOperationException">There are more elements, or none; or the exchange of the parameter with other ranks failed before.</exception>
    /// <exception cref="ObjectDisposedException">The memory was returned.</exception>
    /// <exception cref="Distributed.CommunicationException">Another rank failed before the parameter had arrived (<see cref="Data"/>).</exception>
    public float Item()
    {
        if (Length != 1)
            throw new InvalidOperationException($"Item reads a tensor of one element, not one of shape {this}; take ToArray, or reduce it first");
        Span<float> value = stackalloc float[1];
        Device.Download(Data, value);
        return value[0];
    }

    /// <summary>The shape, for messages: <c>768×128</c>, <c>[768]</c> or <c>scalar</c>.</summary>
    public override string ToString() => shape.Length == 0 ? "scalar" : Text(shape);

    /// <summary>A shape of one or more axes, for messages.</summary>
    internal static string Text(ReadOnlySpan<int> shape) => shape.Length == 1 ? $"[{shape[0]}]" : string.Join('×', shape.ToArray());

    /// <summary>Fails if the memory was returned.</summary>
    /// <exception cref="ObjectDisposedException">It was.</exception>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void CheckMemory()
    {
        if (IsReturned)
            throw Returned();
    }

    /// <summary>Waits until the values of a parameter, or of one whose memory this is, have arrived.</summary>
    private void Await()
    {
        if (memoryOf is not null)
            memoryOf.Await();
        else if (this is Parameter { Arrival: { } arrival } parameter)
            arrival(parameter);
    }

    private ObjectDisposedException Returned() => new(GetType().Name, WhyReturned());

    /// <summary>The message for reads after the memory was returned.</summary>
    private protected virtual string WhyReturned() => Device.IsDisposed
        ? $"a tensor of shape {this} is read after its device {Device.Name} was disposed"
        : Tape is null
            ? $"a tensor of shape {this} is read after its memory was returned to the pool of {Device.Name}"
            : Tape.WhyReturned(this);

    private int LeadingLength()
    {
        long rows = shape.Length == 0 ? 1 : LengthOf(shape.AsSpan(0, shape.Length - 1));
        return rows <= int.MaxValue ? (int)rows : throw new NotSupportedException($"a tensor of shape {this} has more than 2³¹ - 1 rows");
    }

    /// <summary>The number of elements of a shape.</summary>
    /// <exception cref="ArgumentException">There would be more than 2⁶⁰, whose bytes 64 bits do not count.</exception>
    internal static long LengthOf(ReadOnlySpan<int> shape, string? operation = null)
    {
        long length = 1;
        foreach (int size in shape)
        {
            long high = Math.BigMul(length, (long)size, out length);
            if (high != length >> 63 || length is > 1L << 60 or < -(1L << 60))
                return shape.Contains(0) ? 0 : throw TooManyElements(shape, operation);
        }

        return length;
    }

    private static ArgumentException TooManyElements(ReadOnlySpan<int> shape, string? operation) =>
        new($"{operation}{(operation is null ? "" : ": ")}a tensor of {Text(shape)} would have more than 2⁶⁰ elements", nameof(shape));
}
