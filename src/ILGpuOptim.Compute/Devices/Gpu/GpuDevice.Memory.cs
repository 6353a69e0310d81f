using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using ILGPU;
using ILGPU.Runtime;
using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Compute;

// Transfers, conversions, and access by index.
public sealed partial class GpuDevice
{
    private Action<KernelConfig, ArrayView<byte>, ArrayView<int>, ArrayView<byte>, int, int, int, SpecializedValue<int>>? gather;
    private Action<KernelConfig, ArrayView<int>, ArrayView<int>, int, int>? link;
    private Action<KernelConfig, ArrayView<byte>, ArrayView<int>, ArrayView<int>, ArrayView<float>, int, int, SpecializedValue<int>>? scatterAdd;
    private Action<KernelConfig, ArrayView<byte>, ArrayView<int>, ArrayView<float>, int, long, SpecializedValue<int>>? pick;
    private Action<KernelConfig, ArrayView<byte>, ArrayView<int>, ArrayView<float>, int, long, int, SpecializedValue<int>>? addAt;

    private Action<KernelConfig, ArrayView<float>, long, float, ulong, ulong, SpecializedValue<int>>? random;

    /// <summary>The maximum number of values that are read back asynchronously; more are read synchronously.</summary>
    private const int MaxReadLater = 64;

    /// <summary>Memory of readbacks that have arrived.</summary>
    private readonly Stack<PageLockedArray1D<float>> arrived = [];
    private readonly GpuStaging staging;

    /// <inheritdoc/>
    protected internal override void UploadCore(ReadOnlySpan<float> source, in Block target)
    {
        if (target.Type == DType.F32)
        {
            UploadBytesCore(MemoryMarshal.AsBytes(source), target);
        }
        else
        {
            ushort[] narrow = ArrayPool<ushort>.Shared.Rent(source.Length);
            Bf16.Narrow(source, narrow);
            UploadBytesCore(MemoryMarshal.AsBytes(narrow.AsSpan(0, source.Length)), target);
            ArrayPool<ushort>.Shared.Return(narrow);
        }
    }

    /// <inheritdoc/>
    protected internal override void UploadCore(ReadOnlySpan<int> source, in Block target)
    {
        UploadBytesCore(MemoryMarshal.AsBytes(source), target);
        if (!source.IsEmpty)
            ((GpuMemory)target.Memory).Indices = IndexRange.Of(source) is var (least, most) ? (target, least, most) : null;
    }

    /// <inheritdoc/>
    /// <remarks>Indices that an upload left are known; of a part of them only that they lie within the range of all.</remarks>
    protected internal override (int Min, int Max)? RangeOfIndices(in Block indices) =>
        ((GpuMemory)indices.Memory).Indices is var (block, least, most) && block == indices ? (least, most) : null;

    /// <inheritdoc/>
    protected internal override void DownloadCore(in Block source, Span<float> target)
    {
        if (source.Type == DType.F32)
        {
            DownloadBytesCore(source, target.Length * 4L, MemoryMarshal.AsBytes(target));
        }
        else
        {
            ushort[] narrow = ArrayPool<ushort>.Shared.Rent(target.Length);
            DownloadBytesCore(source, target.Length * 2L, MemoryMarshal.AsBytes(narrow.AsSpan()));
            Bf16.Widen(narrow.AsSpan(0, target.Length), target);
            ArrayPool<ushort>.Shared.Return(narrow);
        }
    }

    /// <inheritdoc/>
    protected internal override void DownloadCore(in Block source, Span<int> target)
    {
        DownloadBytesCore(source, target.Length * 4L, MemoryMarshal.AsBytes(target));
    }

    /// <inheritdoc/>
    protected internal override unsafe void DownloadBytesCore(in Block source, long bytes, Span<byte> target)
    {
        pending.Launch();
        if (bytes == 0)
            return;

        // No kernel wrote the memory, and what the operating system left there may be NaN.
        if (recorded is not null)
        {
            target.Clear();
            return;
        }

        // The copy is asynchronous: the target must stay pinned until the stream has finished.
        fixed (byte* pointer = target)
        {
            GpuMemory.View(source).SubView(0, bytes).CopyToCPU(Stream, ref *pointer, bytes);
            SynchronizeCore();
        }
    }

    /// <inheritdoc/>
    protected internal override void UploadBytesCore(ReadOnlySpan<byte> source, in Block target)
    {
        pending.Launch();
        Overwrites(target);
        if (source.Length > 0)
            staging.Upload(source, GpuMemory.View(target).SubView(0, source.Length));
    }

    /// <inheritdoc/>
    public override bool IsAsynchronous => recorded is null;

    /// <inheritdoc/>
    protected internal override Readback ReadLaterCore(in Block source)
    {
        if (source.Length is 0 or > MaxReadLater || !IsAsynchronous)
            return base.ReadLaterCore(source);
        pending.Launch();
        PageLockedArray1D<float> memory = arrived.TryPop(out PageLockedArray1D<float>? known) ? known : Accelerator.AllocatePageLocked1D<float>(MaxReadLater);
        return new GpuReadback(this, GpuMemory.View<float>(source).SubView(0, source.Length), memory);
    }

    internal void Arrived(PageLockedArray1D<float> memory) => arrived.Push(memory);

    /// <inheritdoc/>
    protected internal override void FillCore(in Block target, float value)
    {
        MapCore(new Lift1<FillRule>(new FillRule(value)), 1, target.Length, [target]);
    }

    /// <inheritdoc/>
    protected internal override void CopyCore(in Block source, in Block target)
    {
        if (source.Type != target.Type || source.Type.SharesScales())
        {
            MapCore(new Lift2<CopyRule>(new CopyRule()), 1, source.Length, [source, target]);
        }
        else if (source.Length > 0)
        {
            pending.Launch();
            Overwrites(target);
            long bytes = source.Type.Bytes(1, source.Length);
            GpuMemory.View(source).SubView(0, bytes).CopyTo(Stream, GpuMemory.View(target).SubView(0, bytes));
        }
    }

    /// <inheritdoc/>
    protected internal override void GatherCore(in Block table, in Block indices, in Block target, long columns, bool accumulate)
    {
        pending.Launch();
        long across = Tiles(columns, GpuIndexKernels.Threads);
        if (indices.Length == 0 || columns == 0)
            return;
        gather ??= Load<ArrayView<byte>, ArrayView<int>, ArrayView<byte>, int, int, int, SpecializedValue<int>>(GpuIndexKernels.Gather);
        gather(
            (Groups(across * indices.Length), GpuIndexKernels.Threads), GpuMemory.View(table), GpuMemory.View<int>(indices), GpuMemory.View(target),
            (int)columns, (int)across, RowsOf(table, columns), new((int)table.Type | (accumulate ? GpuIndexKernels.Accumulates : 0) | (target.Type == DType.BF16 ? GpuIndexKernels.NarrowTarget : 0)));
    }

    /// <inheritdoc/>
    protected internal override void ScatterAddCore(in Block source, in Block indices, in Block table, long columns)
    {
        pending.Launch();
        long across = Tiles(columns, GpuIndexKernels.Threads);
        int n = checked((int)indices.Length);
        if (n == 0 || columns == 0)
            return;
        Block links = Pool.Rent(2L * n, DType.I32);
        ArrayView<int> index = GpuMemory.View<int>(indices), next = GpuMemory.View<int>(links);
        link ??= Load<ArrayView<int>, ArrayView<int>, int, int>(GpuIndexKernels.Link);
        link((Groups(Tiles(n, GpuIndexKernels.Threads)), GpuIndexKernels.Threads), index, next, n, RowsOf(table, columns));
        scatterAdd ??= Load<ArrayView<byte>, ArrayView<int>, ArrayView<int>, ArrayView<float>, int, int, SpecializedValue<int>>(GpuIndexKernels.ScatterAdd);
        scatterAdd((Groups(across * n), GpuIndexKernels.Threads), GpuMemory.View(source), index, next, GpuMemory.View<float>(table), n, checked((int)columns), new((int)source.Type));
        Pool.Return(links);
    }

    private static int RowsOf(in Block table, long columns) => (int)Math.Min(int.MaxValue, table.Length / columns);

    /// <summary>Discards the known range of indices in a block.</summary>
    private static void Overwrites(in Block target) => ((GpuMemory)target.Memory).Indices = null;

    /// <inheritdoc/>
    protected internal override void PickCore(in Block source, in Block indices, in Block target, long columns)
    {
        pending.Launch();
        if (indices.Length == 0)
            return;
        pick ??= Load<ArrayView<byte>, ArrayView<int>, ArrayView<float>, int, long, SpecializedValue<int>>(GpuIndexKernels.Pick);
        pick((Groups(Tiles(indices.Length, GpuIndexKernels.Threads)), GpuIndexKernels.Threads), GpuMemory.View(source), GpuMemory.View<int>(indices), GpuMemory.View<float>(target), (int)indices.Length, columns, new((int)source.Type));
    }

    /// <inheritdoc/>
    protected internal override void AddAtCore(in Block target, in Block indices, in Block value, long columns, int perRow)
    {
        pending.Launch();
        if (indices.Length == 0)
            return;
        long rows = indices.Length / perRow;
        addAt ??= Load<ArrayView<byte>, ArrayView<int>, ArrayView<float>, int, long, int, SpecializedValue<int>>(GpuIndexKernels.AddAt);
        addAt((Groups(Tiles(rows, GpuIndexKernels.Threads)), GpuIndexKernels.Threads), GpuMemory.View(target), GpuMemory.View<int>(indices), GpuMemory.View<float>(value), (int)rows, columns, perRow, new((int)target.Type));
    }

    /// <inheritdoc/>
    protected internal override void RandomCore(in Block target, RandomKind kind, float scale, ulong seed, ulong stream)
    {
        pending.Launch();
        if (target.Length == 0)
            return;
        random ??= Load<ArrayView<float>, long, float, ulong, ulong, SpecializedValue<int>>(GpuRandom.Fill);
        random((Groups(Tiles(target.Length, 4 * GpuRandom.Threads)), GpuRandom.Threads), GpuMemory.View<float>(target), target.Length, scale, seed, stream, new((int)kind));
    }
}
