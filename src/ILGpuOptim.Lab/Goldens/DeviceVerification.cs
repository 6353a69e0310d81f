using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Lab;

/// <summary>Compares a device with the reference device on a small GPT-2: loss, every gradient, and a few steps of AdamW.</summary>
internal static class DeviceVerification
{
    private const int Batch = 3, Length = 21, Steps = 5;

    private static readonly Gpt2Config Config = new() { VocabularySize = 97, ContextLength = 32, HiddenSize = 48, Layers = 2, Heads = 3 };

    /// <summary>Runs the model on both devices and compares every quantity.</summary>
    public static IReadOnlyList<Check> Run(Device device)
    {
        using var reference = new ReferenceDevice();
        (float[] losses, Dictionary<string, float[]> gradients) = Train(device);
        (float[] expectedLosses, Dictionary<string, float[]> expected) = Train(reference);
        Check worst = gradients
            .Select(pair => ModelVerification.Compare(pair.Key, pair.Value, expected[pair.Key]))
            .MaxBy(check => double.IsNaN(check.Error) ? double.PositiveInfinity : check.Error)!;
        return
        [
            worst with { Name = $"{gradients.Count} gradients of a small GPT-2" },
            ModelVerification.Compare($"losses of {Steps} steps of AdamW", losses, expectedLosses),
        ];
    }

    private static (float[] Losses, Dictionary<string, float[]> Gradients) Train(Device device)
    {
        using var model = new Transformer(Config, new Initializer(device, 7));
        using var optimizer = new AdamW();
        foreach (Parameter parameter in model.Parameters)
            optimizer.Add(parameter, new AdamOptions { LearningRate = 1e-3, WeightDecay = 0.1 });
        var tokens = new int[Batch * Length];
        for (int i = 0; i < tokens.Length; i++)
            tokens[i] = i * 31 % Config.VocabularySize;
        int[] targets = model.TargetsOf(tokens, Batch);
        using var tape = new Tape(device) { IsTraining = false };
        var losses = new float[Steps];
        var gradients = new Dictionary<string, float[]>();
        for (int step = 0; step < Steps; step++)
        {
            Tensor loss = model.Loss(tape, tokens, targets, Batch);
            loss.IsKept = true;
            tape.Backward(loss);
            foreach (Parameter parameter in step == 0 ? model.Parameters : [])
            {
                gradients[parameter.Name] = new float[parameter.Length];
                device.Download(tape.Gradients[parameter], gradients[parameter.Name]);
            }

            optimizer.Step(tape.Gradients);
            losses[step] = loss.Item();
            tape.Gradients.Clear();
            tape.Reset();
        }

        return (losses, gradients);
    }
}
