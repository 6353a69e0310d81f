using ILGpuOptim.Compute;

namespace ILGpuOptim;

/// <summary>
/// An array of numbers on a device. Activations belong to the <see cref="Tape"/> that made them: it frees them when
/// their gradient has been taken, or when it is reset. Nobody disposes single tensors.
/// </summary>
public class Tensor
{
    /// <summary>Wraps device memory.</summary>
    /// <param name="device">Where the memory is.</param>
    /// <param name="data">The elements, row-major.</param>
    /// <param name="shape">The sizes; their product is the number of elements.</param>
    public Tensor(Device device, Block data, params ReadOnlySpan<int> shape)
    {
        Device = device;
        Data = data;
        Shape = shape.ToArray();
    }

    /// <summary>Where the elements are.</summary>
    public Device Device { get; }

    /// <summary>The elements, row-major.</summary>
    public Block Data { get; internal set; }

    /// <summary>The sizes, outermost first.</summary>
    public IReadOnlyList<int> Shape { get; }

    /// <summary>The number of elements.</summary>
    public long Length => Data.Length;

    /// <summary>The last size; 1 for a scalar.</summary>
    public int Columns => Shape.Count == 0 ? 1 : Shape[^1];

    /// <summary>The product of all sizes but the last.</summary>
    public int Rows => Columns == 0 ? 0 : checked((int)(Length / Columns));

    /// <summary>
    /// The gradient of the loss, once a backward pass has reached this result of an operation; laid out as the data. Those of parameters are in
    /// <see cref="Tape.Gradients"/>.
    /// </summary>
    public Block? Gradient { get; internal set; }

    /// <summary>Whether a backward pass computes <see cref="Gradient"/>.</summary>
    public bool RequiresGradient { get; internal set; }

    /// <summary>Whether the tape leaves the data alone during a backward pass, because someone reads it afterwards.</summary>
    public bool IsKept { get; set; }

    /// <summary>Copies the elements to the host; waits for the device.</summary>
    public virtual float[] ToArray()
    {
        var result = new float[Length];
        Device.Download(Data, result);
        return result;
    }

    /// <summary>The one element of a scalar; waits for the device.</summary>
    public float Item()
    {
        Span<float> value = stackalloc float[1];
        Device.Download(Data.Slice(0, 1), value);
        return value[0];
    }

    /// <summary>The shape, for messages: <c>768×128</c>.</summary>
    public override string ToString() => string.Join('×', Shape);
}
