using ILGpuOptim.Compute;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Generation;

/// <summary>A small model that has learnt to answer a few questions.</summary>
public sealed class TalkingRun : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public TalkingRun()
    {
        string data = folder["data.jsonl"];
        File.WriteAllLines(data, ["""{"prompt": "one", "completion": "ONE"}""", """{"prompt": "two", "completion": "TWO"}""", """{"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "one"}, {"role": "assistant", "content": "eno"}]}"""]);
        var settings = new TrainingSettings
        {
            Data = [data],
            Validation = 0,
            Layers = 1,
            Heads = 2,
            HiddenSize = 32,
            Block = 256,
            Batch = 2,
            Steps = 120,
            Warmup = 10,
            EvalBatches = 0,
            CheckpointInterval = 0,
            Optimizer = new() { LearningRate = 1e-2 },
        };
        using var device = new CpuDevice(threads: 1);
        using TrainingRun run = TrainingRun.Begin(folder["talk"], settings, device);
        run.Train(CancellationToken.None);
    }

    public string Path => folder["talk"];

    public void Dispose() => folder.Dispose();
}
