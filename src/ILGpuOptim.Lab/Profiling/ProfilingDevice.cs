using System.Diagnostics;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Lab;

/// <summary>
/// Waits for each launch on another device, and keeps its time and cost; of all calls, or of those of chosen steps (<see cref="Step"/>). Waiting makes
/// a step slower on asynchronous devices.
/// </summary>
/// <param name="inner">The device.</param>
internal sealed class ProfilingDevice(Device inner) : DelegatingDevice(inner)
{
    private readonly List<TracedCall> calls = [];
    private LaunchCost next;
    private long began;
    private long? step;

    /// <summary>
    /// The number of the training step that calls the device. While it is null, calls are passed on without waiting and are not kept. Without this
    /// function every call is kept, as one of step 0.
    /// </summary>
    public Func<long?>? Step { get; set; }

    private bool IsKeeping => Step is null || Step() is not null;

    /// <summary>The launches and transfers since <see cref="Clear"/>, in order.</summary>
    public IReadOnlyList<TracedCall> Calls => calls;

    /// <summary>The same, added up.</summary>
    public IReadOnlyDictionary<DeviceCall, Entry> Entries => calls.GroupBy(call => call.Call).ToDictionary(group => group.Key, group => new Entry(
        group.Count(), group.Sum(call => call.Seconds), group.Min(call => call.Seconds), group.Aggregate(default(LaunchCost), (sum, call) => sum + call.Cost)));

    /// <summary>Forgets all launches.</summary>
    public void Clear() => calls.Clear();

    /// <summary>True for launches; false for transfers and synchronisation.</summary>
    public static bool IsLaunch(DeviceOperation operation) =>
        operation is not (DeviceOperation.Upload or DeviceOperation.Download or DeviceOperation.ReadLater or DeviceOperation.Synchronize);

    /// <inheritdoc/>
    protected override void OnCalling(in DeviceCall call)
    {
        step = Step is null ? 0 : Step();
        if (step is null)
            return;
        Inner.SynchronizeCore();
        began = Stopwatch.GetTimestamp();
    }

    /// <inheritdoc/>
    protected override void OnCalled(in DeviceCall call)
    {
        if (step is not { } number)
            return;
        Inner.SynchronizeCore();
        calls.Add(new TracedCall(call, began, Stopwatch.GetElapsedTime(began).TotalSeconds, next, number));
        next = default;
    }

    /// <inheritdoc/>
    protected internal override void FillCore(in Block target, float value)
    {
        if (IsKeeping)
            next = new(target.Type.Bytes(1, target.Length), 0);
        base.FillCore(target, value);
    }

    /// <inheritdoc/>
    protected internal override void CopyCore(in Block source, in Block target)
    {
        if (IsKeeping)
            next = new(source.Type.Bytes(1, source.Length) + target.Type.Bytes(1, target.Length), 0);
        base.CopyCore(source, target);
    }

    /// <inheritdoc/>
    protected internal override void CopyStridedCore(in Block source, in Block target, in StridedCopy copy)
    {
        if (IsKeeping)
            next = new((copy.Accumulate ? 3 : 2) * sizeof(float) * copy.Length, copy.Accumulate ? copy.Length : 0);
        base.CopyStridedCore(source, target, copy);
    }

    /// <inheritdoc/>
    protected internal override void MapCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands)
    {
        if (IsKeeping)
            next = LaunchCost.OfMap(rule, rows, columns, operands);
        base.MapCore(rule, rows, columns, operands);
    }

    /// <inheritdoc/>
    protected internal override void RowProgramCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands)
    {
        if (IsKeeping)
            next = LaunchCost.OfRows(rule, rows, columns, operands);
        base.RowProgramCore(rule, rows, columns, operands);
    }

    /// <inheritdoc/>
    protected internal override void GemmCore<R>(in GemmArguments arguments, in R epilogue, ReadOnlySpan<Operand> operands)
    {
        if (IsKeeping)
            next = LaunchCost.OfProduct(arguments, epilogue, operands);
        base.GemmCore(arguments, epilogue, operands);
    }

    /// <inheritdoc/>
    protected internal override void GemmCore(ReadOnlySpan<GemmArguments> products)
    {
        LaunchCost cost = default;
        foreach (ref readonly GemmArguments product in IsKeeping ? products : [])
            cost += LaunchCost.OfProduct(product);
        next = cost;
        base.GemmCore(products);
    }

    /// <inheritdoc/>
    protected internal override void AttentionForwardCore(in AttentionArguments arguments)
    {
        if (IsKeeping)
            next = LaunchCost.OfAttention(arguments, Pairs(arguments), backward: false);
        base.AttentionForwardCore(arguments);
    }

    /// <inheritdoc/>
    protected internal override void AttentionBackwardCore(in AttentionArguments arguments, in AttentionGradients gradients)
    {
        if (IsKeeping)
            next = LaunchCost.OfAttention(arguments, Pairs(arguments), backward: true);
        base.AttentionBackwardCore(arguments, gradients);
    }

    /// <inheritdoc/>
    protected internal override void GatherCore(in Block table, in Block indices, in Block target, long columns, bool accumulate)
    {
        if (IsKeeping)
            next = new(sizeof(int) * indices.Length + table.Type.Bytes(indices.Length, columns) + (accumulate ? 2 : 1) * target.Type.Bytes(indices.Length, columns), accumulate ? indices.Length * columns : 0);
        base.GatherCore(table, indices, target, columns, accumulate);
    }

    /// <inheritdoc/>
    protected internal override void ScatterAddCore(in Block source, in Block indices, in Block table, long columns)
    {
        if (IsKeeping)
            next = new(sizeof(int) * indices.Length + source.Type.Bytes(indices.Length, columns) + 2 * sizeof(float) * indices.Length * columns, indices.Length * columns);
        base.ScatterAddCore(source, indices, table, columns);
    }

    /// <inheritdoc/>
    protected internal override void RandomCore(in Block target, RandomKind kind, float scale, ulong seed, ulong stream)
    {
        if (IsKeeping)
            next = new(sizeof(float) * target.Length, 0);
        base.RandomCore(target, kind, scale, seed, stream);
    }

    /// <inheritdoc/>
    protected internal override void PickCore(in Block source, in Block indices, in Block target, long columns)
    {
        if (IsKeeping)
            next = new((sizeof(int) + sizeof(float)) * indices.Length + source.Type.Bytes(1, indices.Length), 0);
        base.PickCore(source, indices, target, columns);
    }

    /// <inheritdoc/>
    protected internal override void AddAtCore(in Block target, in Block indices, in Block value, long columns, int perRow)
    {
        if (IsKeeping)
            next = new((sizeof(int) + sizeof(float)) * indices.Length + 2 * target.Type.Bytes(1, indices.Length), indices.Length);
        base.AddAtCore(target, indices, value, columns, perRow);
    }

    /// <inheritdoc/>
    protected internal override void RotateCore(in RotationArguments arguments)
    {
        long angles = (long)arguments.Rows * arguments.RotatedSize, elements = angles * arguments.Heads;
        if (IsKeeping)
            next = new(2 * arguments.Target.Type.Bytes(1, elements) + sizeof(float) * angles, 3 * elements);
        base.RotateCore(arguments);
    }

    /// <summary>The pairs of a query and a key that it attends to, of all sequences, for one head.</summary>
    private long Pairs(in AttentionArguments a)
    {
        int[]? ranges = a.Ranges is { } block ? new int[2 * a.Batch * a.QueryLength] : null;
        if (ranges is not null)
            Inner.DownloadCore(a.Ranges!.Value.Slice(0, ranges.Length), ranges);
        long pairs = 0;
        for (int row = 0; row < a.Batch * a.QueryLength; row++)
        {
            long position = row % a.QueryLength + a.KeyLength - a.QueryLength;
            long first = Math.Max(position - a.Before, ranges?[2 * row] ?? 0), end = Math.Min(position + a.After + 1, ranges?[2 * row + 1] ?? a.KeyLength);
            pairs += Math.Max(0, Math.Min(end, a.KeyLength) - Math.Max(first, 0));
        }

        return pairs;
    }

    /// <summary>The launches of one operation, rule and shape.</summary>
    /// <param name="Launches">Their number.</param>
    /// <param name="Seconds">Their time in all.</param>
    /// <param name="Shortest">The time of the shortest: the one that other programs disturbed least.</param>
    /// <param name="Cost">Their cost in all.</param>
    public readonly record struct Entry(long Launches, double Seconds, double Shortest, LaunchCost Cost);
}
