using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Lab;

/// <summary>Records the GPU kernels of optimizers and models.</summary>
internal static class KernelListing
{
    private const int Batch = 2, Length = 40;

    /// <summary>The settings of an optimizer as a command names it.</summary>
    /// <exception cref="UserException">There is no such optimizer or setting, or a value is invalid.</exception>
    public static OptimizerSettings SettingsOf(string label)
    {
        OptimizerSettings settings = new OptimizerSettings().For(label);
        settings.Check();
        return settings;
    }

    /// <summary>Records the kernels of an update of one matrix and one vector.</summary>
    /// <param name="recorder">Receives the kernels; earlier ones are cleared.</param>
    /// <param name="settings">The optimizer.</param>
    /// <param name="rows">Rows of the matrix.</param>
    /// <param name="columns">Columns of the matrix, and the length of the vector.</param>
    /// <exception cref="UserException">There is no such optimizer, or it cannot train such a matrix.</exception>
    public static void RecordUpdate(KernelRecorder recorder, OptimizerSettings settings, int rows, int columns) =>
        RecordUpdate(recorder, Registry.Find(settings.Name), settings, rows, columns);

    /// <summary>The same for an optimizer that need not be registered.</summary>
    internal static void RecordUpdate(KernelRecorder recorder, OptimizerEntry entry, OptimizerSettings settings, int rows, int columns) =>
        LaunchUpdate(recorder.Device, entry, settings, rows, columns, recorder.Clear);

    /// <summary>Launches the kernels of an update of one matrix and one vector.</summary>
    /// <param name="device">The device.</param>
    /// <param name="entry">The optimizer.</param>
    /// <param name="settings">Its settings.</param>
    /// <param name="rows">Rows of the matrix.</param>
    /// <param name="columns">Columns of the matrix, and the length of the vector.</param>
    /// <param name="beginning">Called before the update.</param>
    internal static void LaunchUpdate(Device device, OptimizerEntry entry, OptimizerSettings settings, int rows, int columns, Action? beginning = null)
    {
        var matrix = new Parameter(device, "h.0.attn.c_attn.weight", rows, columns);
        var vector = new Parameter(device, "h.0.attn.c_attn.bias", columns);
        using Optimizer optimizer = Registry.Create(entry, settings, [matrix, vector], out _);
        var gradients = new Gradients(device);

        // Singular value decompositions run on the host, so the gradient must be a number.
        foreach (Parameter parameter in new[] { matrix, vector })
            device.Upload(new float[parameter.Length], gradients.Target(parameter, out _));
        beginning?.Invoke();
        optimizer.Step(gradients);
    }

    /// <summary>Records the kernels of the forward and backward passes of GPT-2, LLaMA and BERT, with dropout, in every precision that the device has.</summary>
    /// <param name="recorder">Receives the kernels.</param>
    public static void RecordModels(KernelRecorder recorder) => LaunchModels(recorder.Device);

    /// <summary>Launches the kernels of the forward and backward passes of GPT-2, LLaMA and BERT, with dropout, in every precision that the device has.</summary>
    internal static void LaunchModels(Device device)
    {
        const float Dropout = 0.1f;
        ModelConfig[] configs =
        [
            new Gpt2Config { VocabularySize = 97, ContextLength = 64, HiddenSize = 96, Layers = 1, Heads = 3, AttentionDropout = Dropout, ResidualDropout = Dropout, EmbeddingDropout = Dropout },
            new LlamaConfig { VocabularySize = 97, HiddenSize = 128, IntermediateSize = 176, Layers = 1, Heads = 2 },
            new BertConfig { VocabularySize = 97, HiddenSize = 96, IntermediateSize = 192, Layers = 1, Heads = 3 },
        ];
        foreach (ModelConfig config in configs)
        {
            using LanguageModel model = config.Create(new Initializer(device, 1));
            var tokens = new int[Batch * Length];
            foreach (Precision precision in Enum.GetValues<Precision>())
            {
                // OpenCL's kernels for processors read f32 only.
                if (precision == Precision.BF16 && !device.HasNarrowAttention)
                    continue;
                using var tape = new Tape(device) { Precision = precision };
                tape.Backward(model.Loss(tape, tokens, tokens, Batch));
            }
        }
    }
}
