using System.Diagnostics;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Benchmarks.Devices;

/// <summary>Runs everything on another device and waits for each launch, to tell what a step spends its time on.</summary>
internal sealed class ProfilingDevice(Device inner) : Device
{
    private readonly Dictionary<string, (double Seconds, int Launches)> spent = [];

    public override string Name => inner.Name;

    public override string Description => inner.Description;

    public override long AvailableBytes => inner.AvailableBytes;

    public override long ChunkLength => inner.ChunkLength;

    public void Clear() => spent.Clear();

    public void Print(int steps)
    {
        Console.WriteLine($"{"ms a step",10}{"launches",10}  what (each waited for; the sum is {spent.Values.Sum(entry => entry.Seconds) * 1e3 / steps:F2} ms)");
        foreach ((string what, (double seconds, int launches)) in spent.OrderByDescending(entry => entry.Value.Seconds).Take(32))
            Console.WriteLine($"{seconds * 1e3 / steps,10:F3}{launches / (double)steps,10:F1}  {what}");
    }

    protected internal override (int Least, int Most)? RangeOfIndices(in Block indices) => inner.RangeOfIndices(indices);

    protected internal override void UploadCore(ReadOnlySpan<float> source, in Block target) => inner.UploadCore(source, target);

    protected internal override void UploadCore(ReadOnlySpan<int> source, in Block target) => inner.UploadCore(source, target);

    protected internal override void DownloadCore(in Block source, Span<float> target) => inner.DownloadCore(source, target);

    protected internal override void DownloadCore(in Block source, Span<int> target) => inner.DownloadCore(source, target);

    protected internal override void DownloadBytesCore(in Block source, long bytes, Span<byte> target) => inner.DownloadBytesCore(source, bytes, target);

    protected internal override void UploadBytesCore(ReadOnlySpan<byte> source, in Block target) => inner.UploadBytesCore(source, target);

    protected internal override void SynchronizeCore() => inner.SynchronizeCore();

    protected internal override void FillCore(in Block target, float value)
    {
        long began = Begin();
        inner.FillCore(target, value);
        End("fill", began);
    }

    protected internal override void CopyCore(in Block source, in Block target)
    {
        long began = Begin();
        inner.CopyCore(source, target);
        End("copy", began);
    }

    internal override void CopyStridedCore(in Block source, in Block target, in StridedCopy copy)
    {
        long began = Begin();
        inner.CopyStridedCore(source, target, copy);
        End("strided copy", began);
    }

    protected internal override void MapCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands)
    {
        long began = Begin();
        inner.MapCore(rule, rows, columns, operands);
        End($"map {NameOf(typeof(R))} {rows} x {columns}", began);
    }

    protected internal override void RowProgramCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands)
    {
        long began = Begin();
        inner.RowProgramCore(rule, rows, columns, operands);
        End($"rows {NameOf(typeof(R))} {rows} x {columns}", began);
    }

    protected internal override void GemmCore<R>(in GemmArguments arguments, in R epilogue, ReadOnlySpan<Operand> operands)
    {
        long began = Begin();
        inner.GemmCore(arguments, epilogue, operands);
        End($"product {arguments.M} x {arguments.N} x {arguments.K} {(arguments.TransposeA ? 'T' : 'N')}{(arguments.TransposeB ? 'T' : 'N')}", began);
    }

    protected internal override void AttentionForwardCore(in AttentionArguments arguments)
    {
        long began = Begin();
        inner.AttentionForwardCore(arguments);
        End("attention, forward", began);
    }

    protected internal override void AttentionBackwardCore(in AttentionArguments arguments, in AttentionGradients gradients)
    {
        long began = Begin();
        inner.AttentionBackwardCore(arguments, gradients);
        End("attention, backward", began);
    }

    protected internal override void GatherCore(in Block table, in Block indices, in Block target, long columns, bool accumulate)
    {
        long began = Begin();
        inner.GatherCore(table, indices, target, columns, accumulate);
        End("gather", began);
    }

    protected internal override void ScatterAddCore(in Block source, in Block indices, in Block table, long columns)
    {
        long began = Begin();
        inner.ScatterAddCore(source, indices, table, columns);
        End("scatter", began);
    }

    protected internal override void RandomCore(in Block target, RandomKind kind, float scale, ulong seed, ulong stream)
    {
        long began = Begin();
        inner.RandomCore(target, kind, scale, seed, stream);
        End("random", began);
    }

    protected internal override void PickCore(in Block source, in Block indices, in Block target, long columns)
    {
        long began = Begin();
        inner.PickCore(source, indices, target, columns);
        End("pick", began);
    }

    protected internal override void AddAtCore(in Block target, in Block indices, in Block value, long columns)
    {
        long began = Begin();
        inner.AddAtCore(target, indices, value, columns);
        End("add at", began);
    }

    internal override DeviceMemory Allocate(long bytes) => inner.Allocate(bytes);

    private static string NameOf(Type type) =>
        type.Name.Split('`')[0] + (type.IsGenericType ? $"<{string.Join(", ", type.GetGenericArguments().Select(NameOf))}>" : "");

    private long Begin()
    {
        inner.SynchronizeCore();
        return Stopwatch.GetTimestamp();
    }

    private void End(string what, long began)
    {
        inner.SynchronizeCore();
        (double seconds, int launches) = spent.GetValueOrDefault(what);
        spent[what] = (seconds + Stopwatch.GetElapsedTime(began).TotalSeconds, launches + 1);
    }
}
