using System.Runtime.InteropServices;
using ILGPU;
using ILGPU.Runtime;
using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Compute;

// Maps and row programs.
public sealed partial class GpuDevice
{
    private readonly Dictionary<Type, Delegate> maps = [], quantizedMaps = [], manyMaps = [], sumMaps = [], rowPrograms = [];
    private MemoryBuffer1D<int, Stride1D.Dense>? table;
    private Action<KernelConfig, ArrayView<float>, ArrayView<float>, int, int, SpecializedValue<int>>? fold;
    private Action<KernelConfig, ArrayView<float>, ArrayView<float>, int, SpecializedValue<int>>? foldScalar;

    /// <inheritdoc/>
    protected internal override void MapCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands)
    {
        bool sums = false, quantizes = false;
        for (int k = 0; k < operands.Length; k++)
        {
            sums |= R.Access.Reduces(k);
            quantizes |= R.Access.Writes(k) && operands[k].Block.Type.SharesScales();
            if (R.Access.Writes(k) && operands[k].Block.Type == DType.I32)
                Overwrites(operands[k].Block);
        }

        if (sums && quantizes)
            throw new NotSupportedException($"{Name}: {typeof(R).Name} cannot sum and write 8-bit values in one launch");
        ulong formats = GpuFormats.Of(operands, R.Access, columns);
        if (GpuFormats.IsFlat(formats))
            (rows, columns) = (Math.Min(1, rows), rows * columns);
        if (quantizes || pending.Touches(operands, R.Access))
            pending.Launch();
        if (!sums && !quantizes && rows > 0 && columns > 0 && GpuFormats.IsFlat(formats) && GpuPendingMaps.Takes(operands, columns))
        {
            pending.Add(rule, formats, operands, (int)columns);
            return;
        }

        var arguments = new GpuArguments(operands, rows, columns, nothing.View);
        if (sums)
        {
            MapSums(rule, rows, columns, operands, arguments, formats);
        }
        else if (rows > 0 && columns > 0)
        {
            if (quantizes)
            {
                arguments.Across = checked((int)Tiles(columns, DTypes.QuantizedBlock));
                Launcher<R>(quantizedMaps, GpuMapKernels.MapQuantized)((Groups(rows * arguments.Across), DTypes.QuantizedBlock), arguments, rule, new(formats));
            }
            else if (GpuFormats.IsFlat(formats))
            {
                LaunchMap(rule, formats, columns, operands);
            }
            else
            {
                arguments.Across = checked((int)Tiles(columns, GpuMapKernels.Width));
                Launcher<R>(maps, GpuMapKernels.Map)(
                    (new Index2D(Groups(Tiles(rows, GpuMapKernels.Height) * arguments.Across), 1), new Index2D(GpuMapKernels.Width, GpuMapKernels.Height)), arguments, rule, new(formats));
            }
        }
    }

    /// <summary>Launches a map over one row.</summary>
    internal void LaunchMap<R>(in R rule, ulong formats, long columns, ReadOnlySpan<Operand> operands) where R : unmanaged, IMap6 =>
        Launcher<R>(maps, GpuMapKernels.Map)(
            (Groups(Tiles(columns, GpuMapKernels.FlatWidth)), GpuMapKernels.FlatWidth), new GpuArguments(operands, 1, columns, nothing.View), rule, new(formats));

    /// <summary>Launches queued maps: entries of <see cref="GpuPendingMaps.EntryLength"/> integers, and the entry of each group.</summary>
    internal void LaunchMaps<R>(in R rule, ulong formats, ReadOnlySpan<int> entries, ReadOnlySpan<int> groups) where R : unmanaged, IMap6
    {
        table ??= Accelerator.Allocate1D<int>(GpuPendingMaps.MaxEntries * GpuPendingMaps.EntryLength + GpuPendingMaps.MaxGroups);
        ArrayView<int> first = table.View.SubView(0, entries.Length), second = table.View.SubView(entries.Length, groups.Length);
        staging.Upload(MemoryMarshal.AsBytes(entries), first.Cast<byte>());
        staging.Upload(MemoryMarshal.AsBytes(groups), second.Cast<byte>());
        if (!manyMaps.TryGetValue(typeof(R), out Delegate? launcher))
            manyMaps[typeof(R)] = launcher = Load<ArrayView<byte>, ArrayView<int>, ArrayView<int>, R, SpecializedValue<ulong>>(GpuMapKernels.MapMany);
        ((Action<KernelConfig, ArrayView<byte>, ArrayView<int>, ArrayView<int>, R, SpecializedValue<ulong>>)launcher)(
            (groups.Length, GpuMapKernels.FlatWidth), slab!.All, first, second, rule, new(formats));
    }

    private void MapSums<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands, GpuArguments arguments, ulong formats) where R : unmanaged, IMap6
    {
        pending.Launch();
        bool flat = GpuFormats.IsFlat(formats);
        int width = IsProcessor ? GpuMapColumns.Width : GpuMapKernels.Tile;
        int height = IsProcessor ? GpuMapColumns.RowsFor(flat ? columns / width : rows) : GpuMapKernels.Tile;
        long across = flat ? 1 : Tiles(columns, width), down = flat ? Tiles(columns, width * height) : Tiles(rows, height);
        if (rows == 0 || columns == 0)
            across = down = 0;
        long workspace = 0;
        for (int k = 0; k < operands.Length; k++)
            workspace += R.Access.Reduces(k) ? PartialsOf(operands[k].Layout, rows, columns, across, down) : 0;
        Block partials = Pool.Rent(workspace);
        long offset = 0;
        for (int k = 0; k < operands.Length; k++)
        {
            if (!R.Access.Reduces(k))
                continue;
            ArrayView<float> view = GpuMemory.Part(GpuMemory.View<float>(partials), offset, PartialsOf(operands[k].Layout, rows, columns, across, down));
            long ofRows = operands[k].Layout == Layout.Scalar ? down * across : operands[k].Layout == Layout.PerColumn ? 0 : across * rows;
            arguments.SetSums(k, GpuMemory.Part(view, 0, ofRows), GpuMemory.Part(view, ofRows, view.Length - ofRows));
            offset += view.Length;
        }

        arguments.Across = checked((int)across);
        if (across > 0 && IsProcessor)
            ColumnsLauncher<R>()((Groups(across * down), 1), arguments, height, rule, new(formats));
        else if (across > 0)
            Launcher<R>(sumMaps, GpuMapKernels.MapSums)((Groups(across * down), GpuMapKernels.TileThreads), arguments, rule, new(formats));
        offset = 0;
        for (int k = 0; k < operands.Length; k++)
        {
            if (!R.Access.Reduces(k))
                continue;
            Layout layout = operands[k].Layout;
            ArrayView<float> view = GpuMemory.Part(GpuMemory.View<float>(partials), offset, PartialsOf(layout, rows, columns, across, down)), target = GpuMemory.View<float>(operands[k].Block);
            bool largest = R.Access.At(k) == Slot.Max;
            if (layout == Layout.Scalar)
                FoldInto(view, target, 1, down * across, largest);
            if (layout is Layout.PerRow or Layout.RowsAndColumns)
                FoldInto(view, target, rows, across, largest);
            if (layout is Layout.PerColumn or Layout.RowsAndColumns)
                FoldInto(GpuMemory.Part(view, view.Length - down * columns, down * columns), layout == Layout.PerColumn ? target : GpuMemory.Part(target, rows, columns), columns, down, largest);
            offset += view.Length;
        }

        Pool.Return(partials);
    }

    /// <inheritdoc/>
    protected internal override void RowProgramCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands)
    {
        pending.Launch();
        int sums = 0;
        for (int k = 0; k < operands.Length; k++)
        {
            sums += R.Access.Reduces(k) ? 1 : 0;
            if (R.Access.Writes(k) && operands[k].Block.Type.SharesScales())
                throw new NotSupportedException($"{Name}: a row program cannot write 8-bit values");
            if (R.Access.Writes(k) && operands[k].Block.Type == DType.I32)
                Overwrites(operands[k].Block);
        }

        var arguments = new GpuArguments(operands, rows, columns, nothing.View);

        // With sums per column, a group takes several rows, so that partial sums are few.
        arguments.Across = IsProcessor ? (int)Math.Max(1, Tiles(rows, GpuRowLines.MaxGroups)) : sums == 0 ? 1 : (int)Math.Max(1, Tiles(rows, 128));
        long groups = Tiles(rows, arguments.Across), size = groups * columns;
        Block partials = sums > 0 ? Pool.Rent(sums * size) : default;
        for (int k = 0, taken = 0; k < operands.Length; k++)
        {
            if (R.Access.Reduces(k))
                arguments.SetSums(k, nothing.View, GpuMemory.Part(GpuMemory.View<float>(partials), size * taken++, size));
        }

        if (rows > 0 && columns > 0)
        {
            int threads = IsProcessor ? 1 : 32;
            while (threads < columns && threads < GpuRowKernels.MaxThreads && !IsProcessor)
                threads *= 2;
            Launcher<R>(rowPrograms, IsProcessor ? GpuRowLines.Run : GpuRowKernels.Run)((Groups(groups), threads), arguments, rule, new(GpuFormats.Of(operands, R.Access, columns)));
        }

        for (int k = 0, taken = 0; k < operands.Length; k++)
        {
            if (R.Access.Reduces(k))
                FoldInto(GpuMemory.Part(GpuMemory.View<float>(partials), size * taken++, size), GpuMemory.View<float>(operands[k].Block), columns, groups, largest: false);
        }

        if (sums > 0)
            Pool.Return(partials);
    }

    private static long PartialsOf(Layout layout, long rows, long columns, long across, long down) => layout switch
    {
        Layout.PerRow => across * rows,
        Layout.PerColumn => down * columns,
        Layout.RowsAndColumns => across * rows + down * columns,
        _ => across * down,
    };

    private void FoldInto(ArrayView<float> partials, ArrayView<float> target, long count, long tiles, bool largest)
    {
        if (count == 1)
        {
            foldScalar ??= Load<ArrayView<float>, ArrayView<float>, int, SpecializedValue<int>>(GpuMapKernels.FoldScalar);
            foldScalar((1, GpuMapKernels.TileThreads), partials, target, checked((int)tiles), new(largest ? 1 : 0));
        }
        else if (count > 0)
        {
            fold ??= Load<ArrayView<float>, ArrayView<float>, int, int, SpecializedValue<int>>(GpuMapKernels.Fold);
            fold(
                (new Index2D(Groups(Tiles(count, GpuMapKernels.Width)), 1), new Index2D(GpuMapKernels.Width, GpuMapKernels.Height)),
                partials, target, checked((int)count), checked((int)tiles), new(largest ? 1 : 0));
        }
    }

    private Action<KernelConfig, GpuArguments, R, SpecializedValue<ulong>> Launcher<R>(Dictionary<Type, Delegate> known, Action<GpuArguments, R, SpecializedValue<ulong>> kernel) where R : unmanaged
    {
        if (!known.TryGetValue(typeof(R), out Delegate? launcher))
            known[typeof(R)] = launcher = Load(kernel);
        return (Action<KernelConfig, GpuArguments, R, SpecializedValue<ulong>>)launcher;
    }

    private Action<KernelConfig, GpuArguments, int, R, SpecializedValue<ulong>> ColumnsLauncher<R>() where R : unmanaged, IMap6
    {
        if (!sumMaps.TryGetValue(typeof(R), out Delegate? launcher))
            sumMaps[typeof(R)] = launcher = Load<GpuArguments, int, R, SpecializedValue<ulong>>(GpuMapColumns.Run);
        return (Action<KernelConfig, GpuArguments, int, R, SpecializedValue<ulong>>)launcher;
    }

    private static long Tiles(long size, long tile) => (size + tile - 1) / tile;

    private static int Groups(long groups) => checked((int)groups);
}
