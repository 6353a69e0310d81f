using System.Buffers.Binary;
using System.Diagnostics.Metrics;
using System.Diagnostics.Tracing;
using System.Text.Json;
using Google.Protobuf;
using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

/// <summary>What a run records while it trains.</summary>
public sealed class RunRecorderTests : IDisposable
{
    private static readonly TrainingSettings Tiny = Presets.Find("tiny") with { Steps = 4, EvalInterval = 2, EvalBatches = 1, SampleInterval = 2, TensorBoard = true, LayerInterval = 3 };

    private readonly TemporaryFolder folder = new();
    private readonly CpuDevice device = new(1);

    public void Dispose()
    {
        device.Dispose();
        folder.Dispose();
    }

    private string Train(TrainingSettings settings)
    {
        using TrainingRun run = TrainingRun.Begin(folder["run"], settings, device);
        Assert.True(run.Train(TestContext.Current.CancellationToken));
        return run.Folder;
    }

    [Fact]
    public void EachLineHasItsTimeAndEachStepItsSpeedAndMemory()
    {
        DateTime before = DateTime.UtcNow.AddSeconds(-1);
        JsonElement[] lines = [.. File.ReadLines(Path.Combine(Train(Tiny), TrainingRun.MetricsFile)).Select(line => JsonDocument.Parse(line).RootElement)];
        Assert.All(lines, line => Assert.InRange(line.GetProperty("time").GetDateTime(), before, DateTime.UtcNow));
        JsonElement began = lines[0].GetProperty("began");
        Assert.True(began.GetProperty("predicted_bytes").GetInt64() > began.GetProperty("state_bytes").GetInt64());
        JsonElement[] steps = [.. lines.Where(line => line.TryGetProperty("lr", out _))];
        Assert.Equal([1, 2, 3, 4], steps.Select(line => line.GetProperty("step").GetInt32()));
        Assert.All(steps, line => Assert.Equal(Tiny.Batch * Tiny.Block, line.GetProperty("tokens_per_second").GetDouble() * line.GetProperty("seconds").GetDouble(), 1e-6));
        Assert.Equal(began.GetProperty("predicted_bytes").GetInt64(), steps[^1].GetProperty("memory_bytes").GetInt64());
        Assert.Equal(2, Assert.Single(lines, line => line.TryGetProperty("sample", out _)).GetProperty("step").GetInt32());
    }

    [Fact]
    public void NormsOfParametersAreOneLine()
    {
        string[] lines = File.ReadAllLines(Path.Combine(Train(Tiny), TrainingRun.MetricsFile));
        JsonElement line = JsonDocument.Parse(Assert.Single(lines, line => line.Contains("\"layers\"", StringComparison.Ordinal))).RootElement;
        Assert.Equal(3, line.GetProperty("step").GetInt32());
        JsonElement wte = line.GetProperty("layers").GetProperty("wte.weight");
        Assert.Equal(wte.GetProperty("update_norm").GetSingle() / wte.GetProperty("weight_norm").GetSingle(), wte.GetProperty("update_ratio").GetSingle());
        Assert.True(wte.GetProperty("grad_norm").GetSingle() > 0);
    }

    [Fact]
    public void RunMetricsReadsOnlyLosses()
    {
        RunMetrics metrics = RunMetrics.Read(Train(Tiny));
        Assert.Equal([1, 2, 3, 4], metrics.Steps.Select(item => item.Step));
        Assert.Equal([0, 2, 4], metrics.Validations.Select(item => item.Step));
    }

    [Fact]
    public void SamplesDoNotChangeTraining()
    {
        string[] with = MetricLines.Losses(Train(Tiny with { Dropout = 0.1 }));
        using TrainingRun run = TrainingRun.Begin(folder["without"], Tiny with { Dropout = 0.1, SampleInterval = 0 }, device);
        run.Train(TestContext.Current.CancellationToken);
        Assert.Equal(with, MetricLines.Losses(run.Folder));
    }

    [Fact]
    public void SamplesAreRefusedWhereThereIsNoText()
    {
        string bert = Assert.Throws<UserException>(() => TrainingRun.Begin(folder["bert"], Presets.Find("bert-tiny") with { SampleInterval = 1 }, device)).Message;
        Assert.Contains("SampleInterval", bert, StringComparison.OrdinalIgnoreCase);
        string lora = Assert.Throws<UserException>(() => TrainingRun.Begin(folder["lora"], Tiny with { From = TrainingRun.ModelFolder(Train(Tiny)), Layers = null, Heads = null, HiddenSize = null, Dropout = null, Lora = new LoraOptions() }, device)).Message;
        Assert.Contains("adapters", lora, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder["bert"]) || Directory.Exists(folder["lora"]));
    }

    [Fact]
    public void InstrumentsPublishEveryStep()
    {
        var seen = new Dictionary<string, List<double>>();
        using var listener = new MeterListener { InstrumentPublished = (instrument, self) => { if (instrument.Meter.Name == TrainingMeters.Name) self.EnableMeasurementEvents(instrument); } };
        int thread = Environment.CurrentManagedThreadId;
        void Note(Instrument instrument, double value)
        {
            // Other tests train on other threads.
            if (Environment.CurrentManagedThreadId == thread)
                (seen.TryGetValue(instrument.Name, out List<double>? values) ? values : seen[instrument.Name] = []).Add(value);
        }

        listener.SetMeasurementEventCallback<double>((instrument, value, _, _) => Note(instrument, value));
        listener.SetMeasurementEventCallback<long>((instrument, value, _, _) => Note(instrument, value));
        listener.Start();
        RunMetrics metrics = RunMetrics.Read(Train(Tiny));
        Assert.Equal([256, 256, 256, 256], seen["ilgpuoptim.tokens"]);
        Assert.Equal(metrics.Steps.Select(item => item.Loss), seen["ilgpuoptim.loss"], (a, b) => Math.Abs(a - b) < 1e-6);
        Assert.Equal(4, seen["ilgpuoptim.step.duration"].Count);
        Assert.Equal(3, seen["ilgpuoptim.loss.validation"].Count);
    }

    [Fact]
    public void EventsEncloseEveryStepValidationAndCheckpoint()
    {
        using var listener = new Listener(Environment.CurrentManagedThreadId);
        Train(Tiny);
        Assert.Equal(
            ["ValidationStart 0", "ValidationStop 0", "StepStart 1", "StepStop 1", "StepStart 2", "StepStop 2", "ValidationStart 2", "ValidationStop 2",
            "StepStart 3", "StepStop 3", "StepStart 4", "StepStop 4", "ValidationStart 4", "ValidationStop 4", "CheckpointStart 4", "CheckpointStop 4"],
            listener.Seen);
    }

    /// <summary>The events of one thread.</summary>
    private sealed class Listener(int thread) : EventListener
    {
        public List<string> Seen { get; } = [];

        protected override void OnEventSourceCreated(EventSource source)
        {
            if (source.Name == "ILGpuOptim")
                EnableEvents(source, EventLevel.Informational);
        }

        protected override void OnEventWritten(EventWrittenEventArgs data)
        {
            if (Environment.CurrentManagedThreadId == thread)
                Seen.Add($"{data.EventName} {data.Payload![0]}");
        }
    }

    /// <summary>The check value of CRC-32C is in RFC 3720, B.4: 32 bytes of zeros have 8a9136aa.</summary>
    [Fact]
    public void ChecksumsAreThoseOfTheRecordFormat()
    {
        uint rotated = (0x8a9136aau >> 15) | (0x8a9136aau << 17);
        Assert.Equal(rotated + 0xa282ead8, TensorBoardWriter.MaskedChecksum(new byte[32]));
    }

    [Fact]
    public void TensorBoardGetsEveryStepValidationAndSample()
    {
        string run = Train(Tiny);
        byte[] file = File.ReadAllBytes(Assert.Single(Directory.GetFiles(Path.Combine(run, TensorBoardWriter.Folder))));
        var events = new List<(long Step, List<(string Tag, float? Value)> Values)>();
        int at = 0;
        for (int length; at < file.Length; at += 16 + length)
        {
            length = (int)BinaryPrimitives.ReadUInt64LittleEndian(file.AsSpan(at));
            Assert.Equal(TensorBoardWriter.MaskedChecksum(file.AsSpan(at, 8)), BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(at + 8)));
            Assert.Equal(TensorBoardWriter.MaskedChecksum(file.AsSpan(at + 12, length)), BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(at + 12 + length)));
            events.Add(Event(new CodedInputStream(file, at + 12, length)));
        }

        Assert.Equal(file.Length, at);
        RunMetrics metrics = RunMetrics.Read(run);
        Assert.Equal(metrics.Steps.Select(item => ((long, float?))(item.Step, (float)item.Loss)), Of("loss/training"));
        Assert.Equal(metrics.Validations.Select(item => ((long, float?))(item.Step, (float)item.Validation!)), Of("loss/validation"));
        Assert.Equal([(2, null)], Of("sample"));
        Assert.Equal(3, Assert.Single(Of("layer_update_ratio/wte.weight")).Item1);
        Assert.True(Assert.Single(Of("layer_gradient_norm/wte.weight")).Item2 > 0);

        IEnumerable<(long, float?)> Of(string tag) => events.SelectMany(item => item.Values.Where(value => value.Tag == tag).Select(value => (item.Step, value.Value)));
    }

    private static (long Step, List<(string Tag, float? Value)> Values) Event(CodedInputStream input)
    {
        long step = 0;
        var values = new List<(string, float?)>();
        for (uint tag; (tag = input.ReadTag()) != 0;)
        {
            switch (WireFormat.GetTagFieldNumber(tag))
            {
                case 2: step = input.ReadInt64(); break;
                case 5:
                    CodedInputStream summary = input.ReadBytes().CreateCodedInput();
                    while (summary.ReadTag() != 0)
                    {
                        CodedInputStream value = summary.ReadBytes().CreateCodedInput();
                        (string Tag, float? Value) item = ("", null);
                        for (uint field; (field = value.ReadTag()) != 0;)
                        {
                            if (WireFormat.GetTagFieldNumber(field) == 1)
                                item.Tag = value.ReadString();
                            else if (WireFormat.GetTagFieldNumber(field) == 2)
                                item.Value = value.ReadFloat();
                            else
                                value.SkipLastField();
                        }

                        values.Add(item);
                    }

                    break;
                default: input.SkipLastField(); break;
            }
        }

        return (step, values);
    }
}
