using ILGpuOptim.Compute;

namespace ILGpuOptim;

/// <summary>
/// An array of numbers on a device, of any number of axes. Results of operations belong to the <see cref="ILGpuOptim.Tape"/> that made them: it
/// frees them when their gradient has been taken, or when it is reset. Nobody disposes single tensors; reading one whose memory was returned is an
/// <see cref="ObjectDisposedException"/>.
/// </summary>
public class Tensor
{
    private readonly int[] shape;
    private readonly Tensor? memoryOf;
    private Block data;
    private bool isKept;

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
        Length = LengthOf(shape);
        if (Length != data.Length)
            throw new ArgumentException($"a tensor of shape {this} has {Length} elements, not the {data.Length} of its memory", nameof(shape));
    }

    /// <summary>Another shape over the memory of a tensor, or over a part of it.</summary>
    internal Tensor(Tensor memoryOf, ReadOnlySpan<int> shape, long start = 0)
        : this(memoryOf.Device, memoryOf.Data.Slice(start, LengthOf(shape)), shape) => this.memoryOf = memoryOf;

    /// <summary>Where the elements are.</summary>
    public Device Device { get; }

    /// <summary>The tape whose operation made the tensor; null for parameters and for memory from elsewhere.</summary>
    public Tape? Tape { get; internal init; }

    /// <summary>The elements, row-major.</summary>
    /// <exception cref="ObjectDisposedException">The memory was returned.</exception>
    public Block Data
    {
        get => data.IsReturned || Device.IsDisposed ? throw new ObjectDisposedException(GetType().Name, WhyReturned()) : data;
        internal set => data = value;
    }

    /// <summary>The elements, which may be gone.</summary>
    internal Block Memory => data;

    /// <summary>The sizes, outermost first; none for a scalar.</summary>
    public IReadOnlyList<int> Shape => shape;

    /// <summary>The number of elements.</summary>
    public long Length { get; }

    /// <summary>The last size; 1 for a scalar.</summary>
    public int Columns => shape.Length == 0 ? 1 : shape[^1];

    /// <summary>The product of all sizes but the last: a tensor is this many rows of <see cref="Columns"/> elements.</summary>
    public int Rows => shape.Length == 0 ? 1 : checked((int)LengthOf(shape.AsSpan(0, shape.Length - 1)));

    /// <summary>
    /// The gradient of the loss, once a backward pass has reached this result of an operation; laid out as the data. Those of parameters are in
    /// <see cref="Tape.Gradients"/>.
    /// </summary>
    public Block? Gradient { get; internal set; }

    /// <summary>Whether the gradient is exactly one, because a backward pass began here.</summary>
    internal bool HasUnitGradient { get; set; }

    /// <summary>Whether a backward pass takes a gradient with respect to the tensor.</summary>
    public bool RequiresGradient { get; internal set; }

    /// <summary>
    /// Whether the backward pass leaves the data alone, because someone reads it afterwards: until the tape is reset. A view keeps the tensor whose
    /// memory it shares.
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

    /// <summary>Whether the memory is that of another tensor, with which it is returned.</summary>
    internal bool IsView => memoryOf is not null;

    /// <summary>The recording that made the tensor, as its tape counts them.</summary>
    internal long Recording { get; init; }

    /// <summary>Whether a backward pass returned the memory.</summary>
    internal bool WasReleased { get; set; }

    /// <summary>The part of a backward pass that computed the tensor again.</summary>
    internal int Region { get; set; }

    /// <summary>Copies the elements to the host; waits for the device.</summary>
    /// <exception cref="ObjectDisposedException">The memory was returned.</exception>
    public virtual float[] ToArray()
    {
        Block source = Data;
        var result = new float[Length];
        Device.Download(source, result);
        return result;
    }

    /// <summary>The one element of a scalar, or of a tensor of one element; waits for the device.</summary>
    /// <exception cref="InvalidOperationException">There are more elements, or none.</exception>
    /// <exception cref="ObjectDisposedException">The memory was returned.</exception>
    public float Item()
    {
        if (Length != 1)
            throw new InvalidOperationException($"Item reads a tensor of one element, not one of shape {this}; take ToArray, or reduce it first");
        Span<float> value = stackalloc float[1];
        Device.Download(Data, value);
        return value[0];
    }

    /// <summary>The shape, for messages: <c>768×128</c>.</summary>
    public override string ToString() => shape.Length == 0 ? "scalar" : string.Join('×', shape);

    /// <summary>What to tell whoever reads the tensor after its memory was returned.</summary>
    private protected virtual string WhyReturned() => Device.IsDisposed
        ? $"a tensor of shape {this} is read after its device {Device.Name} was disposed"
        : Tape is null
            ? $"a tensor of shape {this} is read after its memory was returned to the pool of {Device.Name}"
            : Tape.WhyReturned(this);

    /// <summary>The number of elements of a shape.</summary>
    /// <exception cref="ArgumentException">There would be more than 2⁶⁰, whose bytes 64 bits do not count.</exception>
    internal static long LengthOf(ReadOnlySpan<int> shape, string? operation = null)
    {
        if (shape.Contains(0))
            return 0;
        long length = 1;
        foreach (int size in shape)
        {
            if (Int128.Abs((Int128)length * size) > 1L << 60)
                throw new ArgumentException($"{operation}{(operation is null ? "" : ": ")}a tensor of {string.Join('×', shape.ToArray())} would have more than 2⁶⁰ elements", nameof(shape));
            length *= size;
        }

        return length;
    }
}
