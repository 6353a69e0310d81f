using ILGpuOptim.Data;
using ILGpuOptim.Models;

namespace ILGpuOptim.Training;

/// <summary>The model that settings and data ask for.</summary>
public static class TrainedModel
{
    /// <summary>The configuration of a fresh model: the sizes of the settings, the vocabulary of the data.</summary>
    /// <exception cref="UserException">The sizes contradict each other.</exception>
    public static ModelConfig Configuration(TrainingSettings settings, Dataset data)
    {
        ModelConfig basis = settings.Model ?? new Gpt2Config { Vocabulary = data.Vocabulary, ContextLength = settings.Block, Channels = 128, Layers = 4, Heads = 4 };

        // Ids of token files may well stop short of the vocabulary that made them.
        int vocabulary = data.Tokenizer is null ? Math.Max(data.Vocabulary, basis.Vocabulary) : data.Vocabulary;
        ModelConfig config = basis.Resized(vocabulary, settings.Block, settings.Layers, settings.Heads, settings.Channels, settings.Dropout);
        if (config is BertConfig bert && (bert.MaskToken is null || data.Tokenizer is not null))
            config = bert with { MaskToken = bert.Vocabulary, Vocabulary = bert.Vocabulary + 1, PadToken = null };
        config.Check("settings");
        return config;
    }
}
