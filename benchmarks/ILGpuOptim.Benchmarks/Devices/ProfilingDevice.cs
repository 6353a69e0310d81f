using System.Diagnostics;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Benchmarks.Devices;

/// <summary>Waits for each launch on another device and adds up the time by operation, rule and shape.</summary>
internal sealed class ProfilingDevice(Device inner) : DelegatingDevice(inner)
{
    private readonly Dictionary<DeviceCall, (double Seconds, int Launches)> spent = [];
    private long began;

    public void Clear() => spent.Clear();

    public void Print(int steps)
    {
        Console.WriteLine($"{"ms a step",10}{"launches",10}  what (each waited for; the sum is {spent.Values.Sum(entry => entry.Seconds) * 1e3 / steps:F2} ms)");
        foreach ((DeviceCall call, (double seconds, int launches)) in spent.OrderByDescending(entry => entry.Value.Seconds).Take(32))
            Console.WriteLine($"{seconds * 1e3 / steps,10:F3}{launches / (double)steps,10:F1}  {Describe(call)}");
    }

    protected override void OnCalling(in DeviceCall call)
    {
        if (IsLaunch(call.Operation))
            Inner.SynchronizeCore();
        began = Stopwatch.GetTimestamp();
    }

    protected override void OnCalled(in DeviceCall call)
    {
        if (!IsLaunch(call.Operation))
            return;
        Inner.SynchronizeCore();
        (double seconds, int launches) = spent.GetValueOrDefault(call);
        spent[call] = (seconds + Stopwatch.GetElapsedTime(began).TotalSeconds, launches + 1);
    }

    private static bool IsLaunch(DeviceOperation operation) =>
        operation is not (DeviceOperation.Upload or DeviceOperation.Download or DeviceOperation.ReadLater or DeviceOperation.Synchronize);

    private static string Describe(in DeviceCall call) =>
        $"{call.Operation} {(call.Rule is null ? "" : NameOf(call.Rule) + " ")}{call.Rows} x {call.Columns}{(call.Depth == 0 ? "" : $" x {call.Depth}")}";

    private static string NameOf(Type type) =>
        type.Name.Split('`')[0] + (type.IsGenericType ? $"<{string.Join(", ", type.GetGenericArguments().Select(NameOf))}>" : "");
}
