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

    public override void Upload(ReadOnlySpan<float> source, in Block target) => inner.Upload(source, target);

    public override void Upload(ReadOnlySpan<int> source, in Block target) => inner.Upload(source, target);

    public override void Download(in Block source, Span<float> target) => inner.Download(source, target);

    public override void Download(in Block source, Span<int> target) => inner.Download(source, target);

    public override void DownloadBytes(in Block source, long bytes, Span<byte> target) => inner.DownloadBytes(source, bytes, target);

    public override void UploadBytes(ReadOnlySpan<byte> source, in Block target) => inner.UploadBytes(source, target);

    public override void Synchronize() => inner.Synchronize();

    public override void Fill(in Block target, float value)
    {
        long began = Begin();
        inner.Fill(target, value);
        End("fill", began);
    }

    public override void Copy(in Block source, in Block target)
    {
        long began = Begin();
        inner.Copy(source, target);
        End("copy", began);
    }

    public override void Map<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands)
    {
        long began = Begin();
        inner.Map(rule, rows, columns, operands);
        End($"map {NameOf(typeof(R))} {rows} x {columns}", began);
    }

    public override void RowProgram<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands)
    {
        long began = Begin();
        inner.RowProgram(rule, rows, columns, operands);
        End($"rows {NameOf(typeof(R))} {rows} x {columns}", began);
    }

    public override void Gemm<R>(in GemmArguments arguments, in R epilogue, ReadOnlySpan<Operand> operands)
    {
        long began = Begin();
        inner.Gemm(arguments, epilogue, operands);
        End($"product {arguments.M} x {arguments.N} x {arguments.K} {(arguments.TransposeA ? 'T' : 'N')}{(arguments.TransposeB ? 'T' : 'N')}", began);
    }

    public override void AttentionForward(in AttentionArguments arguments)
    {
        long began = Begin();
        inner.AttentionForward(arguments);
        End("attention, forward", began);
    }

    public override void AttentionBackward(in AttentionArguments arguments, in AttentionGradients gradients)
    {
        long began = Begin();
        inner.AttentionBackward(arguments, gradients);
        End("attention, backward", began);
    }

    public override void Gather(in Block table, in Block indices, in Block target, long columns, bool accumulate)
    {
        long began = Begin();
        inner.Gather(table, indices, target, columns, accumulate);
        End("gather", began);
    }

    public override void ScatterAdd(in Block source, in Block indices, in Block table, long columns)
    {
        long began = Begin();
        inner.ScatterAdd(source, indices, table, columns);
        End("scatter", began);
    }

    public override void Random(in Block target, RandomKind kind, float scale, ulong seed, ulong stream)
    {
        long began = Begin();
        inner.Random(target, kind, scale, seed, stream);
        End("random", began);
    }

    public override void Pick(in Block source, in Block indices, in Block target, long columns)
    {
        long began = Begin();
        inner.Pick(source, indices, target, columns);
        End("pick", began);
    }

    public override void AddAt(in Block target, in Block indices, in Block value, long columns)
    {
        long began = Begin();
        inner.AddAt(target, indices, value, columns);
        End("add at", began);
    }

    internal override DeviceMemory Allocate(long bytes) => inner.Allocate(bytes);

    private static string NameOf(Type type) =>
        type.Name.Split('`')[0] + (type.IsGenericType ? $"<{string.Join(", ", type.GetGenericArguments().Select(NameOf))}>" : "");

    private long Begin()
    {
        inner.Synchronize();
        return Stopwatch.GetTimestamp();
    }

    private void End(string what, long began)
    {
        inner.Synchronize();
        (double seconds, int launches) = spent.GetValueOrDefault(what);
        spent[what] = (seconds + Stopwatch.GetElapsedTime(began).TotalSeconds, launches + 1);
    }
}
