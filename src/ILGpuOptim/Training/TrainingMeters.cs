using System.Diagnostics.Metrics;

namespace ILGpuOptim.Training;

/// <summary>
/// The instruments of the meter <c>ILGpuOptim</c>, for <c>dotnet-counters</c> and exporters of OpenTelemetry. Without a listener they cost nothing.
/// </summary>
internal static class TrainingMeters
{
    /// <summary>The name of the meter.</summary>
    public const string Name = "ILGpuOptim";

    private static readonly Meter Meter = new(Name, typeof(TrainingMeters).Assembly.GetName().Version?.ToString());
    private static readonly Counter<long> Tokens = Meter.CreateCounter<long>("ilgpuoptim.tokens", "{token}", "tokens trained on, with padding");
    private static readonly Histogram<double> Duration = Meter.CreateHistogram<double>("ilgpuoptim.step.duration", "s", "duration of an update");
    private static readonly Gauge<long> Step = Meter.CreateGauge<long>("ilgpuoptim.step", "{step}", "number of the last update");
    private static readonly Gauge<double> Loss = Meter.CreateGauge<double>("ilgpuoptim.loss", "nat", "loss of the last update's batches, per token");
    private static readonly Gauge<double> ValidationLoss = Meter.CreateGauge<double>("ilgpuoptim.loss.validation", "nat", "loss of the last validation, per token");
    private static readonly Gauge<double> Rate = Meter.CreateGauge<double>("ilgpuoptim.learning_rate", null, "learning rate of the last update");
    private static readonly Gauge<double> Norm = Meter.CreateGauge<double>("ilgpuoptim.gradient_norm", null, "global norm of the last gradient before clipping");
    private static readonly Gauge<long> Memory = Meter.CreateGauge<long>("ilgpuoptim.memory", "By", "most bytes of the device in use so far");

    private static readonly Counter<long> Skips = Meter.CreateCounter<long>("ilgpuoptim.skipped", "{step}", "steps whose update was skipped because of a spike");

    /// <summary>Publishes a step that was skipped.</summary>
    public static void Skipped() => Skips.Add(1);

    /// <summary>Publishes an update.</summary>
    public static void Stepped(StepResult result, long tokens, double seconds, long bytes)
    {
        Tokens.Add(tokens);
        Duration.Record(seconds);
        Step.Record(result.Step);
        Loss.Record(result.Loss);
        Rate.Record(result.LearningRate);
        Norm.Record(result.GradientNorm);
        Memory.Record(bytes);
    }

    /// <summary>Publishes a validation.</summary>
    public static void Validated(double loss) => ValidationLoss.Record(loss);
}
