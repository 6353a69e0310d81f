using System.Diagnostics;
using System.Text.Json;
using ILGpuOptim.Files;

namespace ILGpuOptim.Lab;

/// <summary>
/// Writes launches and transfers in the Trace Event Format, which Perfetto and Chrome's tracing page read: an object with <c>traceEvents</c>, one
/// complete event ("X") for each, with microseconds since the first. Steps are events of a row above.
/// </summary>
internal static class KernelTrace
{
    private const int StepRow = 1, KernelRow = 2;

    /// <summary>Writes a file, completely or not at all.</summary>
    /// <param name="path">The file.</param>
    /// <param name="calls">The calls, in order.</param>
    /// <exception cref="UserException">The file cannot be written.</exception>
    public static void Write(string path, IReadOnlyList<TracedCall> calls)
    {
        try
        {
            using var bytes = new MemoryStream();
            Write(bytes, calls);
            AtomicFolder.WriteBytes(path, bytes.ToArray());
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{path}: the trace cannot be written: {e.Message}", e);
        }
    }

    /// <summary>Writes the object.</summary>
    public static void Write(Stream target, IReadOnlyList<TracedCall> calls)
    {
        using var json = new Utf8JsonWriter(target);
        json.WriteStartObject();
        json.WriteString("displayTimeUnit", "ms");
        json.WriteStartArray("traceEvents");
        WriteRowName(json, StepRow, "steps");
        WriteRowName(json, KernelRow, "kernels");
        foreach (IGrouping<long, TracedCall> step in calls.Where(call => call.Step > 0).GroupBy(call => call.Step))
        {
            double begin = Microseconds(step.First()), end = step.Max(call => Microseconds(call) + call.Seconds * 1e6);
            WriteStart(json, $"step {step.Key}", "step", StepRow, begin, end - begin);
            json.WriteEndObject();
        }

        foreach (TracedCall call in calls)
        {
            WriteStart(json, TracedCall.NameOf(call.Call), ProfilingDevice.IsLaunch(call.Call.Operation) ? "launch" : "transfer", KernelRow, Microseconds(call), call.Seconds * 1e6);
            json.WriteStartObject("args");
            json.WriteString("shape", TracedCall.ShapeOf(call.Call));
            json.WriteNumber("bytes", call.Cost.Bytes);
            json.WriteNumber("operations", call.Cost.Operations);
            json.WriteEndObject();
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();

        double Microseconds(in TracedCall call) => Stopwatch.GetElapsedTime(calls[0].Began, call.Began).TotalMicroseconds;
    }

    private static void WriteStart(Utf8JsonWriter json, string name, string category, int row, double begin, double duration)
    {
        json.WriteStartObject();
        json.WriteString("name", name);
        json.WriteString("cat", category);
        json.WriteString("ph", "X");
        json.WriteNumber("pid", 1);
        json.WriteNumber("tid", row);
        json.WriteNumber("ts", begin);
        json.WriteNumber("dur", duration);
    }

    private static void WriteRowName(Utf8JsonWriter json, int row, string name)
    {
        json.WriteStartObject();
        json.WriteString("name", "thread_name");
        json.WriteString("ph", "M");
        json.WriteNumber("pid", 1);
        json.WriteNumber("tid", row);
        json.WriteStartObject("args");
        json.WriteString("name", name);
        json.WriteEndObject();
        json.WriteEndObject();
    }
}
