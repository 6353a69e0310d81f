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
        var profiler = new ProfilingDevice(device) { Step = () => null };
        using LanguageModel model = TrainedModel.Create(config, settings, profiler);
        using var trainer = new Trainer(profiler, model, data, settings with { Steps = Math.Max(settings.Steps, WarmUp + steps) });
        profiler.Step = () => trainer.IsStepping && trainer.StepNumber >= WarmUp ? trainer.StepNumber + 1 : null;
        for (int i = 0; i < WarmUp + steps; i++)
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
            return new ProfileRow(TracedCall.NameOf(call), TracedCall.ShapeOf(call), (double)entry.Launches / steps, entry.Seconds / steps, cost, entry.Seconds / total,
                launches ? roof.Seconds(entry.Cost, entry.Launches) / (entry.Launches * entry.Shortest) : null, launches ? roof.Limit(entry.Cost, entry.Launches) : null);
        }
    }
}
