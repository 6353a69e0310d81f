namespace ILGpuOptim.Compute;

/// <summary>
/// Something that runs the closed set of kernel shapes. Launches are asynchronous where the hardware is; only
/// <see cref="Download(in Block, Span{float})"/> waits. Results depend on arguments and shapes, never on thread counts or timing.
/// </summary>
public abstract class Device : IDisposable
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

    /// <summary>New memory from the system. Callers use <see cref="Pool"/>.</summary>
    /// <exception cref="DeviceMemoryException">The device has no room.</exception>
    internal abstract DeviceMemory Allocate(long bytes);

    /// <summary>How many numbers an operation that works chunk by chunk, to save memory, holds at once: enough to keep the device busy.</summary>
    public virtual long ChunkLength => 1L << 23;

    /// <summary>How many numbers the device needs for a product beside its matrices, to predict memory.</summary>
    internal virtual long WorkspaceOf(in GemmArguments product) => 0;

    /// <summary>Copies numbers to the device, converting to the block's type. Lengths must agree (not for I8).</summary>
    public abstract void Upload(ReadOnlySpan<float> source, in Block target);

    /// <summary>Copies indices to the device.</summary>
    public abstract void Upload(ReadOnlySpan<int> source, in Block target);

    /// <summary>Waits for all launches that write the block and copies it back, converted to f32.</summary>
    public abstract void Download(in Block source, Span<float> target);

    /// <summary>As <see cref="Download(in Block, Span{float})"/> for indices.</summary>
    public abstract void Download(in Block source, Span<int> target);

    /// <summary>Copies the stored bytes of a block, whatever its type, for checkpoints.</summary>
    public abstract void DownloadBytes(in Block source, long bytes, Span<byte> target);

    /// <summary>Restores what <see cref="DownloadBytes"/> copied.</summary>
    public abstract void UploadBytes(ReadOnlySpan<byte> source, in Block target);

    /// <summary>Whether launches return before their work is done, so that whoever reads a result at once waits for the device.</summary>
    public virtual bool IsAsynchronous => false;

    /// <summary>
    /// Sends for the numbers of an f32 block as they are after every launch so far, and waits for nothing. What comes back takes as long
    /// as the device needs to come there; meanwhile more can be launched.
    /// </summary>
    public virtual Readback ReadLater(in Block source)
    {
        var values = new float[source.Length];
        Download(source, values);
        return new Readback.Arrived(values);
    }

    /// <summary>Waits for every launch.</summary>
    public abstract void Synchronize();

    /// <summary>Sets every element of an f32, bf16 or i32 block.</summary>
    public abstract void Fill(in Block target, float value);

    /// <summary>Copies a block, converting between storage types. Lengths must agree.</summary>
    public abstract void Copy(in Block source, in Block target);

    /// <summary>
    /// Runs an element-wise rule over a rows × columns rectangle; operands may be whole, per row, per column or one
    /// scalar, and may collect sums (overwritten, not added to). Operands may be the same block only element for element.
    /// </summary>
    public abstract void Map<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) where R : unmanaged, IMap6;

    /// <summary>
    /// Runs a row program over each row of a rows × columns rectangle. Operands as in <see cref="Map"/>; sums may be per column.
    /// </summary>
    public abstract void RowProgram<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) where R : unmanaged, IRowRule;

    /// <summary>
    /// C = epilogue(alpha · op(A) · op(B) + beta · C), for each matrix of the batch. The epilogue is a map over C's
    /// elements: its first operand is the new C; <paramref name="operands"/> are the others, and must not reduce.
    /// </summary>
    public abstract void Gemm<R>(in GemmArguments arguments, in R epilogue, ReadOnlySpan<Operand> operands) where R : unmanaged, IMap6;

    /// <summary>
    /// Products none of which reads what another writes, without epilogues. By default one after the other; devices that can take
    /// them as one piece of work override it.
    /// </summary>
    public virtual void Gemm(ReadOnlySpan<GemmArguments> products)
    {
        foreach (ref readonly GemmArguments product in products)
            this.Gemm(product);
    }

    /// <summary>Scaled dot-product attention; never holds the T × T matrix.</summary>
    public abstract void AttentionForward(in AttentionArguments arguments);

    /// <summary>The gradients of <see cref="AttentionForward"/>; overwrites the three gradient blocks.</summary>
    public abstract void AttentionBackward(in AttentionArguments arguments, in AttentionGradients gradients);

    /// <summary>
    /// target[i] = table[indices[i]] (+ target[i] when <paramref name="accumulate"/>): rows of <paramref name="columns"/> elements.
    /// Indices outside the table are an error of the caller, checked on the host beforehand.
    /// </summary>
    public abstract void Gather(in Block table, in Block indices, in Block target, long columns, bool accumulate);

    /// <summary>table[indices[i]] += source[i], equal indices added in the order of i. Negative indices are skipped.</summary>
    public abstract void ScatterAdd(in Block source, in Block indices, in Block table, long columns);

    /// <summary>
    /// Fills a block with counter-based random numbers (Philox 4×32-10): element i depends on seed, stream and i alone.
    /// </summary>
    public abstract void Random(in Block target, RandomKind kind, float scale, ulong seed, ulong stream);

    /// <summary>
    /// target[i] = source[i, indices[i]] for each row of <paramref name="columns"/> elements; 0 where the index is negative.
    /// </summary>
    public abstract void Pick(in Block source, in Block indices, in Block target, long columns);

    /// <summary>
    /// target[i, indices[i]] += value[i] for each row of <paramref name="columns"/> elements; rows with a negative index stay.
    /// </summary>
    public abstract void AddAt(in Block target, in Block indices, in Block value, long columns);

    /// <summary>
    /// Turns every head of every row in place by the angles of its row: rotary position embedding. By default a map for
    /// each head; devices with something better override it.
    /// </summary>
    public virtual void Rotate(in RotationArguments arguments)
    {
        RotationArguments a = Validate.Rotation(arguments);
        int half = a.HeadSize / 2;
        if (a.Rows == 0 || half == 0)
            return;
        long reach = (a.Rows - 1L) * a.Stride + half, angles = (a.Rows - 1L) * a.HeadSize + half;
        var cosines = new Operand(a.Angles.Slice(0, angles), Layout.Full, a.HeadSize);
        var sines = new Operand(a.Angles.Slice(half, angles), Layout.Full, a.HeadSize);
        for (int head = 0; head < a.Heads; head++)
        {
            var first = new Operand(a.Target.Slice((long)head * a.HeadSize, reach), Layout.Full, a.Stride);
            var second = new Operand(a.Target.Slice((long)head * a.HeadSize + half, reach), Layout.Full, a.Stride);
            this.Map(new RotateRule(a.Backwards ? -1 : 1), a.Rows, half, first, second, cosines, sines);
        }
    }

    /// <inheritdoc/>
    public virtual void Dispose()
    {
        pool?.Trim();
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
