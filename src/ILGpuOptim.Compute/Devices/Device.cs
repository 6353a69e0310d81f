namespace ILGpuOptim.Compute;

/// <summary>
/// A device that runs the kernel shapes: maps, row programs, matrix products, attention, indexed access and random numbers. On asynchronous devices launches
/// return at once; downloads and <see cref="Synchronize"/> wait. Results depend on arguments and shapes, never on thread counts or timing.
/// </summary>
/// <remarks>
/// Public methods check their arguments and call the protected <c>…Core</c> methods, which a device implements. Each may throw:
/// <list type="bullet">
/// <item><see cref="ArgumentException"/>: sizes, strides, types or blocks do not match, or a block belongs to another device.</item>
/// <item><see cref="ObjectDisposedException"/>: the device was disposed, or a block was returned to its pool.</item>
/// <item><see cref="InvalidOperationException"/>: another thread is using the device. One thread at a time may use it and its pool.</item>
/// </list>
/// </remarks>
public abstract partial class Device : IDisposable
{
    private MemoryPool? pool;

    /// <summary>The name that users type, such as <c>cpu</c>.</summary>
    public abstract string Name { get; }

    /// <summary>A description for users: the hardware and its features.</summary>
    public abstract string Description { get; }

    /// <summary>Bytes that can still be allocated. On the CPU: what the system and the limits of its control groups leave free at this moment.</summary>
    public abstract long AvailableBytes { get; }

    /// <summary>True if the device computes in the memory of the process.</summary>
    public virtual bool UsesHostMemory => false;

    /// <summary>The largest allocation, in bytes.</summary>
    public virtual long LargestAllocation => long.MaxValue;

    /// <summary>Reusable memory of this device.</summary>
    public MemoryPool Pool => pool ??= new MemoryPool(this);

    /// <summary>Elements per chunk of operations that work in chunks to save memory; enough to keep the device busy.</summary>
    public virtual long ChunkLength => 1L << 23;

    /// <summary>True if launches return before their work is done, so that reading a result waits for the device.</summary>
    public virtual bool IsAsynchronous => false;

    /// <summary>True if products and attention follow <see cref="GemmArguments.Precision"/>. Otherwise they multiply operands as they are stored, in f32.</summary>
    public virtual bool HasTensorCores => false;

    /// <summary>True if products write bf16 results themselves. Otherwise they go through f32 memory of <see cref="Pool"/>.</summary>
    public virtual bool HasNarrowProducts => false;

    /// <summary>True if attention reads and writes bf16. Otherwise it is refused.</summary>
    public virtual bool HasNarrowAttention => false;

    /// <summary>Copies floats to the device, converting to the block's type, F32 or BF16. Lengths must match.</summary>
    /// <exception cref="NotSupportedException">The block is of another type: upload f32 and convert by a map.</exception>
    public void Upload(ReadOnlySpan<float> source, in Block target)
    {
        using Use use = Enter();
        CheckNumbers(target, source.Length);
        UploadCore(source, target);
    }

    /// <summary>Copies indices to the device. Lengths must match.</summary>
    public void Upload(ReadOnlySpan<int> source, in Block target)
    {
        using Use use = Enter();
        Check(target, DType.I32);
        Validate.Length(source.Length, target);
        UploadCore(source, target);
    }

    /// <summary>Waits for all launches that write the block, F32 or BF16, and copies it to the host, converted to f32. Lengths must match.</summary>
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

    /// <summary>Copies the first stored bytes of a block of any type, for checkpoints. They must be within the block and fit the target.</summary>
    public void DownloadBytes(in Block source, long bytes, Span<byte> target)
    {
        using Use use = Enter();
        Check(source);
        Validate.Bytes(source, bytes);
        if (target.Length < bytes)
            throw new ArgumentException($"{bytes} bytes exceed the target of {target.Length} bytes", nameof(target));
        DownloadBytesCore(source, bytes, target);
    }

    /// <summary>Restores bytes that <see cref="DownloadBytes"/> copied. They must fit the block.</summary>
    public void UploadBytes(ReadOnlySpan<byte> source, in Block target)
    {
        using Use use = Enter();
        Check(target);
        Validate.Bytes(target, source.Length);
        UploadBytesCore(source, target);
    }

    /// <summary>
    /// Starts copying an f32 block to the host, with the values after all launches so far, and returns at once. More work can be launched
    /// before <see cref="Readback.Wait"/>.
    /// </summary>
    public Readback ReadLater(in Block source)
    {
        using Use use = Enter();
        Check(source, DType.F32);
        return ReadLaterCore(source);
    }

    /// <summary>
    /// Runs host code for each index from 0 to <paramref name="count"/> - 1 and returns when all are done. A CPU device runs it on its own threads, others
    /// on a thread for each core. Results must not depend on which thread runs an index, nor on their order.
    /// </summary>
    /// <param name="count">The number of indices.</param>
    /// <param name="body">Called with each index, by several threads at once.</param>
    public virtual void ForEachOnHost(int count, Action<int> body) => Parallel.For(0, count, body);

    /// <summary>Waits for every launch.</summary>
    public void Synchronize()
    {
        using Use use = Enter();
        SynchronizeCore();
    }

    /// <summary>Sets every element of an f32, bf16 or i32 block; 8-bit storage is filled as one row.</summary>
    public void Fill(in Block target, float value)
    {
        using Use use = Enter();
        Check(target);
        Validate.Elements(target);
        FillCore(target, value);
    }

    /// <summary>Copies a block, converting between storage types. Lengths must match.</summary>
    public void Copy(in Block source, in Block target)
    {
        using Use use = Enter();
        Check(source);
        Check(target);
        Validate.Elements(source);
        Validate.Elements(target);
        Validate.Length(source.Length, target);
        CopyCore(source, target);
    }

    /// <summary>
    /// Runs an element-wise rule over a rows × columns rectangle. Operands have one element per element, row or column, or a
    /// single one, and may be sums. Results replace the target's values unless the operand sets
    /// <see cref="Operand.Accumulate"/>. Two operands may share a block only element for element.
    /// </summary>
    public void Map<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) where R : unmanaged, IMap6
    {
        using Use use = Enter();
        Check(operands);
        Validate.Map<R>(rows, columns, operands);
        if (AnyAccumulates(R.Access, operands))
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
        if (AnyAccumulates(R.Access, operands))
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
        if (arguments.C.Type == DType.F32 || HasNarrowProducts)
            GemmCore(arguments, epilogue, operands);
        else
            GemmThroughF32(arguments, epilogue, operands);
    }

    /// <summary>Independent products without epilogues: none reads what another writes.</summary>
    public void Gemm(ReadOnlySpan<GemmArguments> products)
    {
        using Use use = Enter();
        bool direct = true;
        foreach (ref readonly GemmArguments product in products)
        {
            Check(product);
            Validate.Gemm<Lift1<KeepRule>>(product, []);
            direct &= product.C.Type == DType.F32 || HasNarrowProducts;
        }

        if (direct)
        {
            GemmCore(products);
            return;
        }

        foreach (ref readonly GemmArguments product in products)
            Gemm(product, default(Lift1<KeepRule>), []);
    }

    /// <summary>Scaled dot-product attention; never holds the T × T matrix.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A size or limit is negative, the soft cap or dropout is out of range, or a range exceeds the keys.
    /// Ranges that only a GPU knows are clamped to the keys instead.</exception>
    /// <exception cref="NotSupportedException">The operands are bf16, and the device's attention reads f32 only.</exception>
    public void AttentionForward(in AttentionArguments arguments)
    {
        using Use use = Enter();
        Check(arguments);
        Validate.Attention(arguments);
        CheckNarrowAttention(arguments);
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
        CheckNarrowAttention(arguments);
        CheckRanges(arguments);
        AttentionBackwardCore(arguments, gradients);
    }

    /// <summary>target[i] = table[indices[i]] (+ target[i] when <paramref name="accumulate"/>): rows of <paramref name="columns"/> elements.</summary>
    /// <param name="table">Rows × columns, F32 or BF16.</param>
    /// <param name="indices">Row indices, I32. Memory outside the table is never read.</param>
    /// <param name="target">As many rows as indices, F32 or BF16; results are rounded to the nearest.</param>
    /// <param name="columns">Elements of a row.</param>
    /// <param name="accumulate">Adds to the target instead of replacing it.</param>
    /// <exception cref="ArgumentOutOfRangeException">An index is outside the table. If only a GPU knows the indices, the row becomes NaN instead.</exception>
    public void Gather(in Block table, in Block indices, in Block target, long columns, bool accumulate)
    {
        using Use use = Enter();
        Check(table);
        Check(indices, DType.I32);
        CheckFloats(target);
        if (table.Type is not (DType.F32 or DType.BF16))
            throw new NotSupportedException($"rows cannot be gathered from {table.Type} storage");
        Validate.Table("the target", target, indices.Length, columns);
        CheckIndices(indices, columns == 0 ? int.MaxValue : table.Length / columns, allowsNegative: false);
        GatherCore(table, indices, target, columns, accumulate);
    }

    /// <summary>table[indices[i]] += source[i], the table F32, the source F32 or BF16, equal indices added in the order of i. Negative indices are skipped.</summary>
    /// <exception cref="ArgumentOutOfRangeException">An index is outside the table. If only a GPU knows the indices, it is skipped instead.</exception>
    public void ScatterAdd(in Block source, in Block indices, in Block table, long columns)
    {
        using Use use = Enter();
        CheckFloats(source);
        Check(indices, DType.I32);
        Check(table, DType.F32);
        Validate.Table("the source", source, indices.Length, columns);
        CheckIndices(indices, columns == 0 ? int.MaxValue : table.Length / columns, allowsNegative: true);
        ScatterAddCore(source, indices, table, columns);
    }

    /// <summary>
    /// Fills an f32 block with counter-based random numbers (Philox 4×32-10): element i depends on seed, stream and i only.
    /// </summary>
    public void Random(in Block target, RandomKind kind, float scale, ulong seed, ulong stream)
    {
        using Use use = Enter();
        Check(target, DType.F32);
        if (kind is not (RandomKind.Uniform or RandomKind.Normal or RandomKind.KeepMask))
            throw new ArgumentOutOfRangeException(nameof(kind), kind, "unknown distribution");
        RandomCore(target, kind, scale, seed, stream);
    }

    /// <summary>
    /// target[i] = source[i, indices[i]] for each row of <paramref name="columns"/> elements, F32 or BF16; 0 where the index is negative. The target is F32.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">An index is not less than <paramref name="columns"/>. If only a GPU knows the indices, the result becomes NaN instead.</exception>
    public void Pick(in Block source, in Block indices, in Block target, long columns)
    {
        using Use use = Enter();
        CheckFloats(source);
        Check(indices, DType.I32);
        Check(target, DType.F32);
        Validate.Table("the source", source, indices.Length, columns);
        Validate.Table("the target", target, indices.Length, 1);
        CheckIndices(indices, columns, allowsNegative: true);
        PickCore(source, indices, target, columns);
    }

    /// <summary>
    /// target[i, indices[i, j]] += value[i, j] for each row of <paramref name="columns"/> elements, equal indices of a row in the order of j. Negative indices are
    /// skipped.
    /// </summary>
    /// <param name="target">Rows × columns, F32 or BF16; each sum is rounded to the nearest.</param>
    /// <param name="indices">Rows × <paramref name="perRow"/> columns of the target, I32.</param>
    /// <param name="value">One element for each index, F32.</param>
    /// <param name="columns">Elements of a row of the target.</param>
    /// <param name="perRow">Indices of a row.</param>
    /// <exception cref="ArgumentOutOfRangeException">An index is not below <paramref name="columns"/>. Where indices are known to a GPU alone, it is skipped instead.</exception>
    public void AddAt(in Block target, in Block indices, in Block value, long columns, int perRow = 1)
    {
        using Use use = Enter();
        CheckFloats(target);
        Check(indices, DType.I32);
        Check(value, DType.F32);
        if (perRow < 1 || indices.Length % perRow != 0)
            throw new ArgumentOutOfRangeException(nameof(perRow), perRow, $"{indices.Length} indices are not a whole number of rows");
        Validate.Table("the target", target, indices.Length / perRow, columns);
        Validate.Table("the values", value, indices.Length, 1);
        CheckIndices(indices, columns, allowsNegative: true);
        AddAtCore(target, indices, value, columns, perRow);
    }

    /// <summary>
    /// Rotary position embedding in place: rotates every head of every row by the angles of its row.
    /// </summary>
    public void Rotate(in RotationArguments arguments)
    {
        using Use use = Enter();
        CheckFloats(arguments.Target);
        Check(arguments.Angles, DType.F32);
        Validate.Rotation(arguments);
        RotateCore(arguments);
    }

    /// <summary>Releases all resources. Further calls do nothing.</summary>
    public void Dispose()
    {
        if (IsDisposed)
            return;
        Disposing?.Invoke(this, EventArgs.Empty);
        using (Enter())
        {
            IsDisposed = true;
            DisposeCore();
        }

        GC.SuppressFinalize(this);
    }
}

/// <summary>A device has too little memory for an allocation.</summary>
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
