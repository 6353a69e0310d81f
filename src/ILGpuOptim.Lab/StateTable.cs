using System.Globalization;
using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Lab;

/// <summary>
/// The state of optimizers as a Markdown table: the state of GPT-2 124M's attention matrix, 768 × 2304, in each storage, and that of the whole
/// model in f32. It derives from <see cref="Optimizer.StateOf"/> alone and allocates nothing.
/// </summary>
internal static class StateTable
{
    private const int HeadSize = 64;

    private static readonly int[] Matrix = [768, 2304];

    private static readonly Gpt2Config Gpt2 = new() { VocabularySize = 50257, ContextLength = 1024, HiddenSize = 768, Layers = 12, Heads = 12 };

    /// <summary>The first two lines.</summary>
    public const string Header = """
        | optimizer | state of 768×2304 | bytes, f32 | bytes, bf16 | bytes, 8 bits | GPT-2 124M, f32 |
        |---|---|---:|---:|---:|---:|
        """;

    /// <summary>The line of an optimizer.</summary>
    /// <param name="entry">The optimizer.</param>
    /// <param name="label">Its settings; null for the default ones.</param>
    public static string Row(OptimizerEntry entry, OptimizerLabel? label = null)
    {
        label ??= new(entry.Name, []);
        OptimizerSettings settings = label.ApplyTo(new OptimizerSettings { Name = entry.Name })
            .WithDefault("head_size", $"{HeadSize}").WithDefault("tied_embedding", Gpt2.TieWordEmbeddings ? "true" : "false");
        long[] bytes = [.. Enum.GetValues<StateStorage>().Select(storage => State(entry, settings, storage).Sum(tensor => tensor.Bytes))];
        string tensors = string.Join(", ", State(entry, settings, StateStorage.F32).Select(tensor => $"`{tensor.Name}` {string.Join('×', tensor.Shape)}"));
        return string.Create(CultureInfo.InvariantCulture, $"| {label} | {(tensors.Length == 0 ? "none" : tensors)} | {bytes[0]:N0} | {bytes[1]:N0} | {bytes[2]:N0} | {OfGpt2(entry, settings):N0} |");
    }

    private static IReadOnlyList<StateTensor> State(OptimizerEntry entry, OptimizerSettings settings, StateStorage storage)
    {
        using Optimizer optimizer = entry.Create(storage);
        return optimizer.StateOf(Matrix, entry.OptionsOf(settings, "h.0.attn.c_attn.weight", Matrix));
    }

    private static long OfGpt2(OptimizerEntry entry, OptimizerSettings settings)
    {
        using var device = new DryDevice();
        using LanguageModel model = Gpt2.Create(new Initializer(device, 1));
        using Optimizer optimizer = Registry.Create(entry, settings with { StateType = StateStorage.F32 }, model.AllParameters, out _);
        return optimizer.StateBytes;
    }
}
