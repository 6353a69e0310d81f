// program FOLDER: trains small models, stops, and resumes each from its checkpoint. Prints the bits of every loss, so that programs that were compiled in different
// ways can be compared. program open DEVICE: prints why a device cannot be opened.
using ILGpuOptim;
using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

if (args is ["open", var kind])
{
    try
    {
        Devices.Open(kind).Dispose();
    }
    catch (DeviceException e)
    {
        Console.WriteLine(e.Message);
    }

    return;
}

string folder = args[0];
TrainingSettings common = Presets.Find("tiny") with { Steps = 6, EvalInterval = 3, EvalBatches = 1, CheckpointInterval = 3 };
TrainingSettings With(string optimizer) => common with { Optimizer = new OptimizerSettings { Name = optimizer, LearningRate = 1e-3 } };
(string Name, TrainingSettings Settings)[] runs =
[
    .. Registry.Entries.Select(entry => (entry.Name, With(entry.Name))),
    ("bf16 state", With("apollo") with { Optimizer = With("apollo").Optimizer with { StateType = StateStorage.BF16 } }),
    ("int8 weights and dropout", With("came") with { ParameterType = ParameterStorage.Int8, Dropout = 0.1 }),
    ("bf16 and averaged weights", common with { Precision = Precision.BF16, Ema = 0.9 }),
    ("recomputed", common with { Recompute = true, Accumulate = 2 }),
    ("documents, layer by layer", common with { Documents = true, Layerwise = true, Clip = 0 }),
    ("DoRA", common with { From = Path.Combine(folder, "adamw", "checkpoints", "step-0000006"), Layers = null, Heads = null, HiddenSize = null, Lora = new LoraOptions { Rank = 2, Dora = true } }),
];
foreach ((string name, TrainingSettings settings) in runs)
{
    var losses = new List<float>();
    for (int steps = 3; steps <= 6; steps += 3)
    {
        using var device = new CpuDevice(2);
        using TrainingRun run = steps == 3 ? TrainingRun.Begin(Path.Combine(folder, name), settings with { Steps = 3 }, device)
            : TrainingRun.Resume(Path.Combine(folder, name), _ => device, saved => saved with { Steps = 6 });
        run.Stepped = result => losses.Add(result.Loss);
        run.Train(CancellationToken.None);
    }

    Console.WriteLine($"{name}: {string.Join(' ', losses.Select(loss => BitConverter.SingleToUInt32Bits(loss).ToString("x8", null)))}");
}
