using ILGpuOptim.Models;

namespace ILGpuOptim.Training;

/// <summary>Named default settings.</summary>
public static class Presets
{
    private static readonly TrainingSettings ShakespeareChar = new() { Preset = "shakespeare-char" };

    private static readonly TrainingSettings Tiny = ShakespeareChar with { Preset = "tiny", Layers = 2, Heads = 2, HiddenSize = 32, Block = 32, Batch = 8, Steps = 200, EvalInterval = 100, CheckpointInterval = 100 };

    // The vocabulary follows the data.
    private static readonly LlamaConfig Llama = new() { VocabularySize = 1, HiddenSize = 128, IntermediateSize = 352, Layers = 4, Heads = 4, KeyHeads = 2, ContextLength = 64, NormEpsilon = Llama2CFile.NormEpsilon };

    private static readonly BertConfig Bert = new() { VocabularySize = 1, HiddenSize = 128, IntermediateSize = 512, Layers = 4, Heads = 4, ContextLength = 64, HiddenDropout = 0, AttentionDropout = 0 };

    private static readonly T5Config T5 = new() { VocabularySize = 1, HiddenSize = 128, HeadSize = 32, IntermediateSize = 512, Layers = 3, Heads = 4, ContextLength = 64, Dropout = 0 };

    private static readonly (TrainingSettings Settings, string Summary)[] All =
    [
        (ShakespeareChar with { Preset = "default", Steps = 3000, EvalInterval = 300, CheckpointInterval = 600 }, "a small character-level GPT-2, about two minutes on two cores"),
        (ShakespeareChar, "nanoGPT's settings for a laptop: 4 layers, hidden size 128, 2000 steps"),
        (Tiny, "a tiny GPT-2 that trains in seconds"),
        (ShakespeareChar with { Preset = "small", Layers = 6, Heads = 6, HiddenSize = 384, Block = 256, Batch = 32, Dropout = 0.2, Steps = 5000 }, "nanoGPT's character model for a GPU, hours on a laptop"),
        (ShakespeareChar with { Preset = "llama-char", Model = Llama }, "a LLaMA of the size of shakespeare-char, with two query heads per key head"),
        (ShakespeareChar with { Preset = "bert-char", Model = Bert }, "a BERT of the size of shakespeare-char, which predicts masked characters"),
        (ShakespeareChar with { Preset = "t5-char", Model = T5 }, "a T5 of 3 + 3 layers, which predicts masked spans"),
        (Tiny with { Preset = "llama-tiny", Model = Llama }, "a tiny LLaMA"),
        (Tiny with { Preset = "bert-tiny", Model = Bert }, "a tiny BERT"),
        (Tiny with { Preset = "t5-tiny", Model = T5 }, "a tiny T5"),
    ];

    /// <summary>The names of the presets, each with a one-line summary.</summary>
    public static IEnumerable<(string Name, string Summary)> Names => All.Select(preset => (preset.Settings.Preset, preset.Summary));

    /// <summary>Finds a preset.</summary>
    /// <exception cref="UserException">There is none of that name; the message suggests the nearest.</exception>
    public static TrainingSettings Find(string name)
    {
        foreach ((TrainingSettings settings, _) in All)
        {
            if (settings.Preset.Equals(name, StringComparison.OrdinalIgnoreCase))
                return settings;
        }

        throw new UserException($"there is no preset \"{name}\"{Nearest.Question(name, Names.Select(preset => preset.Name))} There are {string.Join(", ", Names.Select(preset => preset.Name))}");
    }
}
