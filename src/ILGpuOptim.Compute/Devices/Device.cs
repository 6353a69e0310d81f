namespace ILGpuOptim.Compute;

/// <summary>
/// Something that runs the closed set of kernel shapes. Launches are asynchronous where the hardware is; only
/// <see cref="Download(in Block, Span{float})"/> waits. Results depend on arguments and shapes, never on thread counts or timing.
/// </summary>
/// <remarks>
/// Every public method checks its arguments before the device sees them, so the kernels themselves check nothing. In each of them:
/// <list type="bullet">
/// <item><see cref="ArgumentException"/>: sizes, strides, types or blocks do not fit each other, or a block is memory of another device.</item>
/// <item><see cref="ObjectDisposedException"/>: the device was disposed, or a block was returned to its pool.</item>
/// <item><see cref="InvalidOperationException"/>: another thread is using the device. One thread at a time may use it and its pool.</item>
/// </list>
/// </remarks>
public abstract partial class Device : IDisposable
{
    private MemoryPool? pool;

    /// <summary>The name by which users choose it, such as <c>cpu</c>.</summary>
    public abstract string Name { get; }

    /// <summary>What it is, for people: the processor and its features.</summary>
    public abstract string Description { get; }

    /// <summary>Bytes that can still be allocated. On processors: what the system and the limits of its control groups leave free at this moment.</summary>
    public abstract long AvailableBytes { get; }

    /// <summary>Whether the device computes in the memory of the program itself.</summary>
    public virtual bool UsesHostMemory => false;

    /// <summary>The most bytes of one allocation.</summary>
    public virtual long LargestAllocation => long.MaxValue;

    /// <summary>Reusable memory of this device.</summary>
    public MemoryPool Pool => pool ??= new MemoryPool(this);

    /// <summary>How many numbers an operation that works chunk by chunk, to save memory, holds at once: enough to keep the device busy.</summary>
    public virtual long ChunkLength => 1L << 23;

    /// <summary>Whether launches return before their work is done, so that whoever reads a result at once waits for the device.</summary>
    public virtual bool IsAsynchronous => false;

    /// <summary>Copies numbers to the device, converting to the block's type, F32 or BF16. Lengths must agree.</summary>
    /// <exception cref="NotSupportedException">The block is of another type: upload f32 and convert by a map.</exception>
    public void Upload(ReadOnlySpan<float> source, in Block target)
    {
        using Use use = Enter();
        CheckNumbers(target, source.Length);
        UploadCore(source, target);
    }

    /// <summary>Copies indices to the device. Lengths must agree.</summary>
    public void Upload(ReadOnlySpan<int> source, in Block target)
    {
        using Use use = Enter();
        Check(target, DType.I32);
        Validate.Length(source.Length, target);
        UploadCore(source, target);
    }

    /// <summary>Waits for all launches that write the block, F32 or BF16, and copies it back, converted to f32. Lengths must agree.</summary>
    /// <exception cref="NotSupportedException">The block is of another type: convert to f32 by a map.</exception>
    public void Download(in Block source, Span<float> target)
    {
        using Use use = Enter();
        CheckNumbers(source, target.Length);
        DownloadCore(source, target);
    }

    /// <summary>As <see cref="Download(in Block, Span{float})"/> for indices.</summary>
    public void Download(in Block source, Span<int> target)
    {
        using Use use = Enter();
        Check(source, DType.I32);
        Validate.Length(target.Length, source);
        DownloadCore(source, target);
    }

    /// <summary>Copies the first stored bytes of a block, whatever its type, for checkpoints. They must lie within the block and fit the target.</summary>
    public void DownloadBytes(in Block source, long bytes, Span<byte> target)
    {
        using Use use = Enter();
        Check(source);
        Validate.Bytes(source, bytes);
        if (target.Length < bytes)
            throw new ArgumentException($"{bytes} bytes do not fit a target of {target.Length}", nameof(target));
        DownloadBytesCore(source, bytes, target);
    }

    /// <summary>Restores what <see cref="DownloadBytes"/> copied. The bytes must fit the block.</summary>
    public void UploadBytes(ReadOnlySpan<byte> source, in Block target)
    {
        using Use use = Enter();
        Check(target);
        Validate.Bytes(target, source.Length);
        UploadBytesCore(source, target);
    }

    /// <summary>
    /// Sends for the numbers of an f32 block as they are after every launch so far, and waits for nothing. What comes back takes as long
    /// as the device needs to come there; meanwhile more can be launched.
    /// </summary>
    public Readback ReadLater(in Block source)
    {
        using Use use = Enter();
        Check(source, DType.F32);
        return ReadLaterCore(source);
    }

    /// <summary>Waits for every launch.</summary>
    public void Synchronize()
    {
        using Use use = Enter();
        SynchronizeCore();
    }

    /// <summary>Sets every element of an f32, bf16 or i32 block; of 8-bit storage, as one row.</summary>
    public void Fill(in Block target, float value)
    {
        using Use use = Enter();
        Check(target);
        FillCore(target, value);
    }

    /// <summary>Copies a block, converting between storage types. Lengths must agree.</summary>
    public void Copy(in Block source, in Block target)
    {
        using Use use = Enter();
        Check(source);
        Check(target);
        Validate.Length(source.Length, target);
        CopyCore(source, target);
    }

    /// <summary>
    /// Runs an element-wise rule over a rows × columns rectangle; operands may be whole, per row, per column or one
    /// scalar, and may collect sums. What is written or summed replaces what was there unless its operand has
    /// <see cref="Operand.Accumulate"/>. Operands may be the same block only element for element.
    /// </summary>
    public void Map<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) where R : unmanaged, IMap6
    {
        using Use use = Enter();
        Check(operands);
        Validate.Map<R>(rows, columns, operands);
        if (AnyAccumulates(operands))
            MapAccumulating(rule, rows, columns, operands);
        else
            MapCore(rule, rows, columns, operands);
    }

    /// <summary>
    /// Runs a row program over each row of a rows × columns rectangle. Operands as in <see cref="Map"/>; sums may be per column.
    /// </summary>
    public void RowProgram<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) where R : unmanaged, IRowRule
    {
        using Use use = Enter();
        Check(operands);
        Validate.Rows<R>(rows, columns, operands);
        if (AnyAccumulates(operands))
            RowProgramAccumulating(rule, rows, columns, operands);
        else
            RowProgramCore(rule, rows, columns, operands);
    }

    /// <summary>
    /// C = epilogue(alpha · op(A) · op(B) + beta · C), for each matrix of the batch. The epilogue is a map over C's
    /// elements: its first operand is the new C; <paramref name="operands"/> are the others, and must neither reduce nor accumulate.
    /// </summary>
    public void Gemm<R>(in GemmArguments arguments, in R epilogue, ReadOnlySpan<Operand> operands) where R : unmanaged, IMap6
    {
        using Use use = Enter();
        Check(arguments);
        Check(operands);
        Validate.Gemm<R>(arguments, operands);
        GemmCore(arguments, epilogue, operands);
    }

    /// <summary>Products none of which reads what another writes, without epilogues.</summary>
    public void Gemm(ReadOnlySpan<GemmArguments> products)
    {
        using Use use = Enter();
        foreach (ref readonly GemmArguments product in products)
        {
            Check(product);
            Validate.Gemm<Lift1<KeepRule>>(product, []);
        }

        GemmCore(products);
    }

    /// <summary>Scaled dot-product attention; never holds the T × T matrix.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A size or limit is negative, the soft-cap or the dropout is no such number, or a range leaves the keys.
    /// Where ranges are known to a GPU alone, they are cut at the keys instead.</exception>
    public void AttentionForward(in AttentionArguments arguments)
    {
        using Use use = Enter();
        Check(arguments);
        Validate.Attention(arguments);
        CheckRanges(arguments);
        AttentionForwardCore(arguments);
    }

    /// <summary>The gradients of <see cref="AttentionForward"/>; overwrites the gradient blocks. Needs the log-sum-exp of the forward pass.</summary>
    public void AttentionBackward(in AttentionArguments arguments, in AttentionGradients gradients)
    {
        using Use use = Enter();
        Check(arguments);
        Check(gradients.Output);
        Check(gradients.Query);
        Check(gradients.Key);
        Check(gradients.Value);
        if (gradients.DistanceBias is { } distances)
            Check(distances);
        Validate.Attention(arguments);
        Validate.Attention(arguments, gradients);
        CheckRanges(arguments);
        AttentionBackwardCore(arguments, gradients);
    }

    /// <summary>target[i] = table[indices[i]] (+ target[i] when <paramref name="accumulate"/>): rows of <paramref name="columns"/> elements.</summary>
    /// <param name="table">Rows × columns, F32 or BF16.</param>
    /// <param name="indices">Row numbers, I32. Memory outside the table is never read; see <see cref="RangeOfIndices"/> for what is known about them here.</param>
    /// <param name="target">As many rows as indices, F32.</param>
    /// <param name="columns">Elements of a row.</param>
    /// <param name="accumulate">Whether the rows are added.</param>
    /// <exception cref="ArgumentOutOfRangeException">An index lies outside the table. Where indices are known to a GPU alone, its row becomes NaN instead.</exception>
    public void Gather(in Block table, in Block indices, in Block target, long columns, bool accumulate)
    {
        using Use use = Enter();
        Check(table);
        Check(indices, DType.I32);
        Check(target, DType.F32);
        if (table.Type is not (DType.F32 or DType.BF16))
            throw new NotSupportedException($"rows cannot be gathered from {table.Type} storage");
        Validate.Table("the target", target, indices.Length, columns);
        CheckIndices(indices, columns == 0 ? int.MaxValue : table.Length / columns, allowsNegative: false);
        GatherCore(table, indices, target, columns, accumulate);
    }

    /// <summary>table[indices[i]] += source[i], equal indices added in the order of i. Negative indices are skipped.</summary>
    /// <exception cref="ArgumentOutOfRangeException">An index lies outside the table. Where indices are known to a GPU alone, it is skipped instead.</exception>
    public void ScatterAdd(in Block source, in Block indices, in Block table, long columns)
    {
        using Use use = Enter();
        Check(source, DType.F32);
        Check(indices, DType.I32);
        Check(table, DType.F32);
        Validate.Table("the source", source, indices.Length, columns);
        CheckIndices(indices, columns == 0 ? int.MaxValue : table.Length / columns, allowsNegative: true);
        ScatterAddCore(source, indices, table, columns);
    }

    /// <summary>
    /// Fills an f32 block with counter-based random numbers (Philox 4×32-10): element i depends on seed, stream and i alone.
    /// </summary>
    public void Random(in Block target, RandomKind kind, float scale, ulong seed, ulong stream)
    {
        using Use use = Enter();
        Check(target, DType.F32);
        if (kind is not (RandomKind.Uniform or RandomKind.Normal or RandomKind.KeepMask))
            throw new ArgumentOutOfRangeException(nameof(kind), kind, "there is no such distribution");
        RandomCore(target, kind, scale, seed, stream);
    }

    /// <summary>
    /// target[i] = source[i, indices[i]] for each row of <paramref name="columns"/> elements; 0 where the index is negative.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">An index is not below <paramref name="columns"/>. Where indices are known to a GPU alone, its result becomes NaN instead.</exception>
    public void Pick(in Block source, in Block indices, in Block target, long columns)
    {
        using Use use = Enter();
        Check(source, DType.F32);
        Check(indices, DType.I32);
        Check(target, DType.F32);
        Validate.Table("the source", source, indices.Length, columns);
        Validate.Table("the target", target, indices.Length, 1);
        CheckIndices(indices, columns, allowsNegative: true);
        PickCore(source, indices, target, columns);
    }

    /// <summary>
    /// target[i, indices[i]] += value[i] for each row of <paramref name="columns"/> elements; rows with a negative index stay.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">An index is not below <paramref name="columns"/>. Where indices are known to a GPU alone, its row stays instead.</exception>
    public void AddAt(in Block target, in Block indices, in Block value, long columns)
    {
        using Use use = Enter();
        Check(target, DType.F32);
        Check(indices, DType.I32);
        Check(value, DType.F32);
        Validate.Table("the target", target, indices.Length, columns);
        Validate.Table("the values", value, indices.Length, 1);
        CheckIndices(indices, columns, allowsNegative: true);
        AddAtCore(target, indices, value, columns);
    }

    /// <summary>
    /// Turns every head of every row in place by the angles of its row: rotary position embedding.
    /// </summary>
    public void Rotate(in RotationArguments arguments)
    {
        using Use use = Enter();
        Check(arguments.Target, DType.F32);
        Check(arguments.Angles, DType.F32);
        Validate.Rotation(arguments);
        RotateCore(arguments);
    }

    /// <summary>Gives everything back. Disposing twice is harmless.</summary>
    public void Dispose()
    {
        if (IsDisposed)
            return;
        using (Enter())
        {
            IsDisposed = true;
            DisposeCore();
        }

        GC.SuppressFinalize(this);
    }
}

/// <summary>A device has no room for an allocation.</summary>
public sealed class DeviceMemoryException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>Distributions of <see cref="Device.Random"/>.</summary>
public enum RandomKind
{
    /// <summary>Uniform in [0, scale).</summary>
    Uniform,

    /// <summary>Normal with mean 0 and standard deviation scale (Box–Muller).</summary>
    Normal,

    /// <summary>1/scale with probability scale, else 0: a dropout mask that keeps with probability scale.</summary>
    KeepMask,
}
