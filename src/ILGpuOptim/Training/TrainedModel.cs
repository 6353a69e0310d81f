using System.IO.Enumeration;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Training;

/// <summary>Creates the model for settings and data.</summary>
public static class TrainedModel
{
    /// <summary>Separates the random streams of adapters from those of initial weights.</summary>
    private const ulong AdapterSeed = 0x4C6F5241_00000000;

    /// <summary>The configuration of the model: that of <see cref="TrainingSettings.From"/>, or the sizes of the settings and the vocabulary of the data.</summary>
    /// <param name="settings">The settings.</param>
    /// <param name="data">The tokens.</param>
    /// <param name="checkpoint">The checkpoint of a resumed run, used instead of <see cref="TrainingSettings.From"/>; or null.</param>
    /// <exception cref="UserException">The sizes contradict each other.</exception>
    public static ModelConfig Configuration(TrainingSettings settings, Dataset data, string? checkpoint = null)
    {
        if (settings.From is { } folder)
            return Known(checkpoint ?? folder, settings);
        if (settings.Model?.Quantization is not null)
            throw UserException.NamingSettings($"{nameof(settings.Model):setting}: the configuration stores weights in 4 bits, which cannot be trained; remove {QuantizationField.Name} from it");
        ModelConfig basis = settings.Model ?? new Gpt2Config { VocabularySize = data.VocabularySize, ContextLength = settings.Block, HiddenSize = 128, Layers = 4, Heads = 4 };

        // The vocabulary of a token file may be larger than its largest id.
        int vocabulary = data.Tokenizer is null ? Math.Max(data.VocabularySize, basis.VocabularySize) : data.VocabularySize;
        ModelConfig config = basis.Resized(vocabulary, settings.Block, settings.Layers, settings.Heads, settings.HiddenSize, settings.Dropout);
        if (config.PredictsMaskedTokens && (config.MaskToken is null || data.Tokenizer is not null))
            config = config.WithNewMask();
        if (config.SpanTokens is { } tokens)
            config = WithSpans(config, tokens, settings, data);
        if (settings.Dropout is not null && config.Resized(dropout: 0) == config.Resized(dropout: 0.5))
            throw UserException.NamingSettings($"{nameof(settings.Dropout):setting} {settings.Dropout}: {config.Family} has no dropout; leave it out");
        config.Check(SourceOf(settings));
        return config;
    }

    /// <summary>The origin of a configuration, for messages: the settings that replace its sizes.</summary>
    private static string SourceOf(TrainingSettings settings)
    {
        (string Name, int? Value)[] sizes = [("layers", settings.Layers), ("heads", settings.Heads), ("hidden_size", settings.HiddenSize)];
        string given = string.Join(", ", sizes.Where(size => size.Value is not null).Select(size => $"{size.Name} = {size.Value}"));
        return given.Length == 0 ? "settings" : $"settings with {given}";
    }

    /// <summary>The configuration with the tokens and positions that span corruption of the data needs.</summary>
    private static ModelConfig WithSpans(ModelConfig config, SpanTokens tokens, TrainingSettings settings, Dataset data)
    {
        SpanCounts counts = SpanCounts.Of(settings.Block, settings.MaskedFraction, settings.MeanSpan);
        int vocabulary = config.VocabularySize;
        if (data.Tokenizer is { } tokenizer)
        {
            tokens = SpanTokens.For(tokenizer, ref vocabulary, counts.Spans);
        }
        else if (tokens.Sentinels.Count == 0)
        {
            vocabulary = Math.Max(vocabulary, data.VocabularySize + counts.Spans);
            tokens = tokens with { Sentinels = SpanTokens.Last(counts.Spans, vocabulary) };
        }

        return config.WithSpanTokens(tokens, vocabulary).Resized(positions: Math.Max(settings.Block, Math.Max(counts.InputLength, counts.TargetLength)));
    }

    /// <summary>Creates the model with initial weights, or with those of <see cref="TrainingSettings.From"/>.</summary>
    /// <param name="config">See <see cref="Configuration"/>.</param>
    /// <param name="settings">The settings.</param>
    /// <param name="device">The device that holds the model.</param>
    /// <param name="loads">True: reads the weights of <see cref="TrainingSettings.From"/>. False: leaves that to a checkpoint.</param>
    /// <exception cref="UserException">The folder's weights cannot be read, or a pattern matches nothing.</exception>
    public static LanguageModel Create(ModelConfig config, TrainingSettings settings, Device device, bool loads = true)
    {
        LanguageModel model = config.Create(new Initializer(device, settings.Seed) { Storage = settings.ParameterType });
        try
        {
            if (loads && settings.From is { } folder)
                ModelFiles.LoadMerged(folder, model);
            Prepare(model, settings);
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>Adds the adapters and freezes the parameters that settings name.</summary>
    /// <exception cref="UserException">A pattern matches nothing, or nothing is left to train.</exception>
    internal static void Prepare(LanguageModel model, TrainingSettings settings)
    {
        if (model.Adapters.Count > 0)
            throw UserException.NamingSettings($"{nameof(settings.From):setting} {settings.From}: the model has adapters beside weights of 4 bits, into which they cannot be merged; continue their run with {"TrainingRun.Resume":setting}, or merge them to floats with the command merge");
        if (model.Config.Quantization is not null && settings.Lora is null)
            throw UserException.NamingSettings($"{nameof(settings.From):setting} {settings.From}: weights of 4 bits cannot be trained; train adapters with {"Lora.Rank":setting}, or take the model of floats");
        if (settings.Lora is { } lora)
            model.AddAdapters(lora, new Initializer(model.Device, settings.Seed ^ AdapterSeed));
        IReadOnlyList<Parameter> all = model.AllParameters;
        foreach (string pattern in settings.Freeze)
        {
            Parameter[] found = [.. all.Where(parameter => FileSystemName.MatchesSimpleExpression(pattern, parameter.Name))];
            if (found.Length == 0)
                throw UserException.NamingSettings($"{nameof(settings.Freeze):setting} {pattern}: the model has no such parameter; there are {Optim.Registry.NamesOf(all)}");
            foreach (Parameter parameter in found)
                parameter.IsFrozen = true;
        }

        if (all.All(parameter => parameter.IsFrozen))
            throw UserException.NamingSettings($"{nameof(settings.Freeze):setting} {string.Join(' ', settings.Freeze)}: nothing is left to train");
    }

    /// <summary>The settings, with the block limited to the positions of the model of <see cref="TrainingSettings.From"/>.</summary>
    /// <exception cref="UserException">The model's configuration cannot be read.</exception>
    public static TrainingSettings Fitted(TrainingSettings settings) => settings.From is { } folder
        ? settings with { Block = Math.Min(settings.Block, ModelFiles.LoadConfig(folder).ContextLength) }
        : settings;

    /// <summary>Checks that the ids of a tokenizer fit a model's vocabulary, and returns the tokenizer.</summary>
    /// <exception cref="UserException">They do not.</exception>
    internal static ITokenizer Fitting(ITokenizer tokenizer, string name, string folder)
    {
        int vocabulary = ModelFiles.LoadConfig(folder).VocabularySize;
        return tokenizer.VocabularySize <= vocabulary ? tokenizer
            : throw UserException.NamingSettings($"{nameof(TrainingSettings.Tokenizer):setting} {name}: it has {tokenizer.VocabularySize} ids, but the model of {folder} has a vocabulary of {vocabulary}; leave it out to use the model's own");
    }

    private static ModelConfig Known(string folder, TrainingSettings settings)
    {
        ModelConfig config = ModelFiles.LoadConfig(folder).Resized(dropout: settings.Dropout);
        if (settings.Block > config.ContextLength)
            throw UserException.NamingSettings($"{nameof(settings.Block):setting} {settings.Block}: the model of {folder} has {config.ContextLength} positions; use at most that");
        return config;
    }
}
