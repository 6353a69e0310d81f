using System.Diagnostics;
using System.Text.Json;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Training;

namespace ILGpuOptim.Lab;

/// <summary>One row of a profile: the launches of one operation, rule and shape within a training step.</summary>
/// <param name="Name">Operation and rule.</param>
/// <param name="Shape">Rows × columns, and the summed dimension of a product or the keys of attention.</param>
/// <param name="Launches">Launches a step.</param>
/// <param name="Seconds">Time a step.</param>
/// <param name="Cost">Bytes and operations a step.</param>
/// <param name="Share">Part of the step's time.</param>
/// <param name="OfRoof">The least time on this device divided by the time of the shortest launch; null for transfers, and where the clock saw no time pass. Above 1 where operands lie in caches.</param>
/// <param name="Limit">What bounds the least time: bytes, operations or launches; null for transfers.</param>
internal sealed record ProfileRow(string Name, string Shape, double Launches, double Seconds, LaunchCost Cost, double Share, double? OfRoof, string? Limit)
{
    /// <summary>True below half of the roof and above one per cent of the step: worth a look.</summary>
    public bool IsSlow => OfRoof < 0.5 && Share > 0.01;
}

/// <summary>The launches of training steps, held against what the device reaches.</summary>
/// <param name="Roof">What the device reaches.</param>
/// <param name="Rows">The launches and transfers, those that take longest first.</param>
/// <param name="Trace">Every launch and transfer of the steps, in order.</param>
internal sealed record StepProfile(DeviceRoof Roof, IReadOnlyList<ProfileRow> Rows, IReadOnlyList<TracedCall> Trace)
{
    private const int WarmUp = 2;

    /// <summary>The time of a step: of its launches and transfers.</summary>
    public double Seconds => Rows.Sum(row => row.Seconds);

    /// <summary>Profiles training steps of a new model. Nothing is written.</summary>
    /// <param name="device">The device, which the caller disposes.</param>
    /// <param name="config">The model.</param>
    /// <param name="settings">The settings.</param>
    /// <param name="data">The tokens.</param>
    /// <param name="steps">The number of measured steps, after two that compile and allocate.</param>
    /// <exception cref="UserException">The settings, the data and the model contradict each other.</exception>
    public static StepProfile Of(Device device, ModelConfig config, TrainingSettings settings, Dataset data, int steps)
    {
        DeviceRoof roof = DeviceRoof.Measure(device);
        var profiler = new ProfilingDevice(device);
        using LanguageModel model = TrainedModel.Create(config, settings, profiler);
        using var trainer = new Trainer(profiler, model, data, settings with { Steps = Math.Max(settings.Steps, WarmUp + steps) });
        for (int i = 0; i < WarmUp; i++)
            trainer.Step();
        profiler.Clear();
        for (int i = 0; i < steps; i++)
            trainer.Step();
        return Of(roof, profiler, steps);
    }

    /// <summary>The profile of what a device did in a number of steps.</summary>
    public static StepProfile Of(DeviceRoof roof, ProfilingDevice device, int steps)
    {
        IReadOnlyDictionary<DeviceCall, ProfilingDevice.Entry> entries = device.Entries;
        double total = entries.Values.Sum(entry => entry.Seconds);
        return new StepProfile(roof, [.. entries.Where(entry => entry.Key.Operation != DeviceOperation.Synchronize).OrderByDescending(entry => entry.Value.Seconds).Select(entry => Row(entry.Key, entry.Value))], [.. device.Calls]);

        ProfileRow Row(DeviceCall call, ProfilingDevice.Entry entry)
        {
            bool launches = ProfilingDevice.IsLaunch(call.Operation) && entry.Shortest > 0;
            var cost = new LaunchCost(entry.Cost.Bytes / steps, entry.Cost.Operations / steps);
            return new ProfileRow(NameOf(call), ShapeOf(call), (double)entry.Launches / steps, entry.Seconds / steps, cost, entry.Seconds / total,
                launches ? roof.Seconds(entry.Cost, entry.Launches) / (entry.Launches * entry.Shortest) : null, launches ? roof.Limit(entry.Cost, entry.Launches) : null);
        }
    }

    /// <summary>
    /// Writes the trace in the format of Chrome's and Perfetto's viewers: an object with <c>traceEvents</c>, one complete event ("X") for each launch or
    /// transfer, with microseconds since the first.
    /// </summary>
    public void WriteTrace(Stream target)
    {
        using var json = new Utf8JsonWriter(target);
        json.WriteStartObject();
        json.WriteString("displayTimeUnit", "ms");
        json.WriteStartArray("traceEvents");
        foreach (TracedCall call in Trace)
        {
            json.WriteStartObject();
            json.WriteString("name", NameOf(call.Call));
            json.WriteString("cat", ProfilingDevice.IsLaunch(call.Call.Operation) ? "launch" : "transfer");
            json.WriteString("ph", "X");
            json.WriteNumber("pid", 1);
            json.WriteNumber("tid", 1);
            json.WriteNumber("ts", Stopwatch.GetElapsedTime(Trace[0].Began, call.Began).TotalMicroseconds);
            json.WriteNumber("dur", call.Seconds * 1e6);
            json.WriteStartObject("args");
            json.WriteString("shape", ShapeOf(call.Call));
            json.WriteNumber("bytes", call.Cost.Bytes);
            json.WriteNumber("operations", call.Cost.Operations);
            json.WriteEndObject();
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static string NameOf(in DeviceCall call) => call.Rule is null ? $"{call.Operation}" : $"{call.Operation} {NameOf(call.Rule)}";

    private static string ShapeOf(in DeviceCall call) => $"{call.Rows} x {call.Columns}{(call.Depth == 0 ? "" : $" x {call.Depth}")}";

    private static string NameOf(Type type) => type.IsGenericType ? $"{type.Name.Split('`')[0]}<{string.Join(", ", type.GetGenericArguments().Select(NameOf))}>" : type.Name;
}
