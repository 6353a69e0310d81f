using ILGpuOptim.Compute;

namespace ILGpuOptim;

/// <summary>
/// A tensor that training changes. Its memory stays until it is disposed with its model; its gradients belong to tapes (<see cref="Tape.Gradients"/>).
/// </summary>
public sealed class Parameter : Tensor
{
    private bool isReleased;

    /// <summary>Rents memory for a parameter; its contents are undefined until it is initialised or loaded.</summary>
    /// <param name="device">The device of its memory.</param>
    /// <param name="name">Its name in <c>model.safetensors</c>.</param>
    /// <param name="shape">Its sizes.</param>
    public Parameter(Device device, string name, params ReadOnlySpan<int> shape)
        : this(device, name, DType.F32, shape)
    {
    }

    /// <summary>Allocates a parameter with the given storage.</summary>
    /// <param name="device">The device of its memory.</param>
    /// <param name="name">Its name in <c>model.safetensors</c>.</param>
    /// <param name="type">F32, BF16, I8, whose scales are those of blocks of 256 along the last size, or 4-bit integers, which products read and nothing updates.</param>
    /// <param name="shape">Its sizes.</param>
    public Parameter(Device device, string name, DType type, params ReadOnlySpan<int> shape)
        : base(device, Keep(device, type, shape), shape)
    {
        ArgumentNullException.ThrowIfNull(name);
        Name = name;
        RequiresGradient = true;
        IsKept = true;
    }

    /// <summary>The name in <c>model.safetensors</c>.</summary>
    public string Name { get; }

    /// <summary>True if training does not update the parameter.</summary>
    public bool IsFrozen
    {
        get => !RequiresGradient;
        set => RequiresGradient = !value;
    }

    /// <summary>True if the parameter is stored in fewer than 32 bits per element.</summary>
    public bool IsNarrow => Memory.Type != DType.F32;

    /// <summary>The stored bytes, with the scales.</summary>
    public long Bytes => Memory.Type.Bytes(Rows, Columns);

    /// <summary>
    /// Waits for the exchange with other ranks that the values take part in, and removes itself; null without one. Runs before the memory is read or written.
    /// </summary>
    internal Action<Parameter>? Arrival { get; set; }

    /// <summary>True for errors of an <see cref="Arrival"/>: of the other ranks, or of the device.</summary>
    internal static bool IsFailedArrival(Exception e) => e is UserException or InvalidOperationException || Devices.Explain(e) is not null;

    /// <summary>Replaces the values, rounded to the nearest that can be stored.</summary>
    /// <param name="values">All elements, row by row.</param>
    /// <exception cref="ArgumentException">The number of values is not the number of elements.</exception>
    /// <exception cref="Distributed.CommunicationException">Another rank failed before the values of the last step had arrived (<see cref="Tensor.Data"/>).</exception>
    /// <exception cref="InvalidOperationException">The exchange of the parameter with other ranks failed before.</exception>
    public void Load(ReadOnlySpan<float> values)
    {
        if (values.Length != Length)
            throw new ArgumentException($"{this} has {Length} elements, but {values.Length} values are given; give one value for each element, row by row", nameof(values));
        Block wide = IsNarrow ? Device.Pool.Rent(Length) : Data;
        Device.Upload(values, wide);
        if (IsNarrow)
            Store(wide, seed: 0);
    }

    /// <inheritdoc/>
    public override float[] ToArray()
    {
        if (!IsNarrow)
            return base.ToArray();
        var result = new float[Length];
        Block wide = Widened();
        Device.Download(wide, result);
        Device.Pool.Return(wide);
        return result;
    }

    /// <summary>An f32 copy from the pool; <see cref="Store"/> takes it back.</summary>
    internal Block Widened()
    {
        Block wide = Device.Pool.Rent(Length);
        if (!Data.Type.IsInt4())
        {
            Device.Map(new CopyRule(), Rows, Columns, Data, wide);
            return wide;
        }

        byte[] bytes = new byte[Bytes];
        Device.DownloadBytes(Data, bytes.Length, bytes);
        var values = new float[Length];
        Int4.Widen(Data.Type, bytes, Columns, values);
        Device.Upload(values, wide);
        return wide;
    }

    /// <summary>Converts f32 values of the pool to the storage type and returns their memory.</summary>
    /// <param name="wide">As many f32 values.</param>
    /// <param name="seed">Of stochastic rounding; 0 rounds to the nearest, as 4-bit integers always are.</param>
    internal void Store(in Block wide, uint seed)
    {
        if (Data.Type.IsInt4())
        {
            var values = new float[Length];
            byte[] bytes = new byte[Bytes];
            Device.Download(wide, values);
            Int4.Narrow(Data.Type, values, Columns, bytes);
            Device.UploadBytes(bytes, Data);
        }
        else
        {
            Device.Map(new CopyRule(), Rows, Columns, wide, new Operand(Data) { Seed = seed });
        }

        Device.Pool.Return(wide);
    }

    /// <summary>Gives all memory back; again, does nothing. Operations on the parameter fail afterwards.</summary>
    internal void Release()
    {
        if (isReleased)
            return;
        isReleased = true;
        try
        {
            // The memory is still part of the exchange.
            if (!Device.IsDisposed)
                Arrival?.Invoke(this);
        }
        catch (Exception e) when (IsFailedArrival(e))
        {
            // Disposal often follows an error, which this one must not replace. Later uses of the communicator throw it again.
        }

        Device.Pool.Return(Memory);
    }

    private protected override string WhyReturned() => Device.IsDisposed
        ? $"'{Name}' ({this}) is read after its device {Device.Name} was disposed"
        : $"'{Name}' ({this}) is read after its model was disposed";

    private static Block Keep(Device device, DType type, ReadOnlySpan<int> shape)
    {
        ArgumentNullException.ThrowIfNull(device);
        long rows = 1, columns = shape.IsEmpty ? 1 : shape[^1];
        for (int i = 0; i < shape.Length - 1; i++)
            rows *= shape[i];
        return device.Pool.RentPersistent(columns == 0 ? 0 : rows, columns, type);
    }
}
