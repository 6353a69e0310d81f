using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Queues maps over small blocks, so that one launch runs all with the same rule: the vectors of a model, which
/// an optimizer updates one by one. Any other use of one of their blocks launches the queue first.
/// </summary>
internal sealed class GpuPendingMaps(GpuDevice device)
{
    /// <summary>Integers of an entry: offsets of six operands and of their factors, in units of four bytes, six seeds, the length and the first group.</summary>
    public const int EntryLength = 20;

    /// <summary>The maximum numbers of maps and groups of a launch.</summary>
    public const int MaxEntries = 512, MaxGroups = 8192;

    /// <summary>Positions in an entry: factors, seeds, length, first group.</summary>
    public const int Factors = 6, Seeds = 12, Length = 18, FirstGroup = 19;

    private readonly Dictionary<Type, IPending> queues = [];
    private readonly List<IPending> waiting = [];

    // The round in which a queued map last read or wrote a granule of the slab.
    private readonly int[] reads = new int[GpuSlab.Bytes / GpuSlab.Granule], writes = new int[GpuSlab.Bytes / GpuSlab.Granule];
    private int round = 1;

    private interface IPending
    {
        void Launch();
    }

    /// <summary>True if maps are queued.</summary>
    public bool Any => waiting.Count > 0;

    /// <summary>True if a map can be queued: small, one row, no 8-bit storage, all operands in the slab.</summary>
    public static bool Takes(ReadOnlySpan<Operand> operands, long columns)
    {
        if (columns * sizeof(float) > GpuSlab.Small)
            return false;
        foreach (ref readonly Operand operand in operands)
        {
            if (operand.Block.Type is not (DType.F32 or DType.BF16) || !IsInSlab(operand.Block) || operand.Block.Offset % 4 != 0 || (operand.Factor is { } factor && !IsInSlab(factor)))
                return false;
        }

        return true;
    }

    /// <summary>True if work on these operands depends on queued maps.</summary>
    public bool Touches(ReadOnlySpan<Operand> operands, Access access)
    {
        if (waiting.Count == 0)
            return false;
        for (int k = 0; k < operands.Length; k++)
        {
            if (Touches(operands[k].Block, access.Writes(k) || access.Reduces(k)) || (operands[k].Factor is { } factor && Touches(factor, false)))
                return true;
        }

        return false;
    }

    /// <inheritdoc cref="Touches(ReadOnlySpan{Operand}, Access)"/>
    public bool Touches(in Block block, bool isWritten)
    {
        if (waiting.Count == 0 || !IsInSlab(block))
            return false;
        (int first, int last) = Granules(block);
        for (int i = first; i <= last; i++)
        {
            if (writes[i] == round || (isWritten && reads[i] == round))
                return true;
        }

        return false;
    }

    /// <summary>Queues a map. It must not depend on queued maps (<see cref="Touches(ReadOnlySpan{Operand}, Access)"/>).</summary>
    public void Add<R>(in R rule, ulong formats, ReadOnlySpan<Operand> operands, int columns) where R : unmanaged, IMap6
    {
        if (!queues.TryGetValue(typeof(R), out IPending? known))
            queues[typeof(R)] = known = new Queues<R>(device);
        Queue<R> queue = ((Queues<R>)known).For(rule, formats);
        if (queue.IsEmpty)
            waiting.Add(queue);
        queue.Add(operands, columns);
        for (int k = 0; k < operands.Length; k++)
        {
            Mark(operands[k].Block, R.Access.Writes(k));
            if (operands[k].Factor is { } factor)
                Mark(factor, false);
        }

        if (queue.IsFull)
            Launch();
    }

    /// <summary>Launches all queued maps.</summary>
    public void Launch()
    {
        foreach (IPending queue in waiting)
            queue.Launch();
        waiting.Clear();
        round++;
    }

    private static bool IsInSlab(in Block block) => ((GpuMemory)block.Memory).SlabOffset >= 0;

    private static int OffsetOf(in Block block) => checked((int)((((GpuMemory)block.Memory).SlabOffset + block.Offset) / 4));

    private static (int First, int Last) Granules(in Block block)
    {
        long start = ((GpuMemory)block.Memory).SlabOffset + block.Offset, bytes = Math.Max(1, block.Type.Bytes(1, block.Length));
        return ((int)(start / GpuSlab.Granule), (int)((start + bytes - 1) / GpuSlab.Granule));
    }

    private void Mark(in Block block, bool isWritten)
    {
        (int first, int last) = Granules(block);
        (isWritten ? writes : reads).AsSpan(first, last - first + 1).Fill(round);
        if (isWritten)
            reads.AsSpan(first, last - first + 1).Fill(round);
    }

    /// <summary>The queues of a rule's type: one for each value and format. They are few, so a linear search finds one.</summary>
    private sealed class Queues<R>(GpuDevice device) : IPending where R : unmanaged, IMap6
    {
        private readonly List<Queue<R>> all = [];

        public Queue<R> For(in R rule, ulong formats)
        {
            Queue<R>? empty = null;
            foreach (Queue<R> queue in all)
            {
                if (queue.IsEmpty)
                    empty = queue;
                else if (queue.Matches(rule, formats))
                    return queue;
            }

            if (empty is null)
                all.Add(empty = new Queue<R>(device));
            empty.Begin(rule, formats);
            return empty;
        }

        public void Launch() => throw new NotSupportedException("queues are launched individually");
    }

    private sealed class Queue<R>(GpuDevice device) : IPending where R : unmanaged, IMap6
    {
        private readonly int[] entries = new int[MaxEntries * EntryLength], groups = new int[MaxGroups];
        private R rule;
        private ulong formats;
        private readonly Operand[] first = new Operand[6];
        private int count, groupCount, firstLength;

        public bool IsEmpty => count == 0;

        public bool IsFull => count == MaxEntries || groupCount + GpuSlab.Small / sizeof(float) / GpuMapKernels.FlatWidth > MaxGroups;

        public bool Matches(in R other, ulong otherFormats) =>
            formats == otherFormats && MemoryMarshal.AsBytes(new ReadOnlySpan<R>(in rule)).SequenceEqual(MemoryMarshal.AsBytes(new ReadOnlySpan<R>(in other)));

        public void Begin(in R newRule, ulong newFormats)
        {
            rule = newRule;
            formats = newFormats;
        }

        public void Add(ReadOnlySpan<Operand> operands, int columns)
        {
            if (count == 0)
            {
                operands.CopyTo(first);
                firstLength = operands.Length;
            }

            Span<int> entry = entries.AsSpan(count * EntryLength, EntryLength);
            entry.Clear();
            for (int k = 0; k < operands.Length; k++)
            {
                entry[k] = OffsetOf(operands[k].Block);
                entry[Factors + k] = operands[k].Factor is { } factor ? OffsetOf(factor) : 0;
                entry[Seeds + k] = (int)operands[k].Seed;
            }

            int needed = (columns + GpuMapKernels.FlatWidth - 1) / GpuMapKernels.FlatWidth;
            entry[Length] = columns;
            entry[FirstGroup] = groupCount;
            groups.AsSpan(groupCount, needed).Fill(count);
            groupCount += needed;
            count++;
        }

        public void Launch()
        {
            if (count == 1)
                device.LaunchMap(rule, formats, entries[Length], first.AsSpan(0, firstLength));
            else
                device.LaunchMaps(rule, formats, entries.AsSpan(0, count * EntryLength), groups.AsSpan(0, groupCount));
            count = groupCount = 0;
        }
    }
}
