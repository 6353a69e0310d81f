using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>Models in Hugging Face's layout: <c>config.json</c> and <c>model.safetensors</c> in a folder.</summary>
public static class ModelFiles
{
    /// <summary>The file of the weights.</summary>
    internal const string Weights = Safetensors.FileName;

    /// <summary>The file of the configuration.</summary>
    internal const string Config = "config.json";

    /// <summary>
    /// Reads a model. Adapters in the folder are merged into its weights, or kept beside quantised weights; they may lie alone beside the name of their
    /// model's folder.
    /// </summary>
    /// <exception cref="UserException">A file is missing, damaged, or does not belong to the other.</exception>
    public static LanguageModel Load(string folder, Device device)
    {
        ModelConfig config = LoadConfig(folder);
        LanguageModel model = config.Create(new Initializer(device, 0));
        try
        {
            LoadMerged(folder, model);
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>As <see cref="Load"/>, for a format of floats: quantised weights are widened to f32 with their branches and adapters.</summary>
    /// <exception cref="UserException">A file is missing, damaged, or does not belong to the other.</exception>
    public static LanguageModel LoadWide(string folder, Device device)
    {
        LanguageModel model = Load(folder, device);
        if (model.Config.Quantization is null)
            return model;
        using (model)
            return ModelQuantization.Widen(model);
    }

    /// <summary>
    /// Reads the configuration of a folder, and checks it against the names and shapes of the weights' file: nothing is allocated for sizes that the
    /// file does not have. A tied head that the file has beside the token embedding, with other values, is one of its own; a mask token and sentinels
    /// that only the tokenizer names are added.
    /// </summary>
    /// <exception cref="UserException">A file is missing, damaged, or does not belong to the other.</exception>
    public static ModelConfig LoadConfig(string folder)
    {
        folder = ConfigFolder(folder);
        ModelConfig config = ModelConfig.Load(Path.Combine(folder, Config));
        using Safetensors file = Safetensors.Open(folder);
        CheckCounts(config, file);
        var names = new TensorNames(file, config);
        if (config.TieWordEmbeddings && names.Find(config.HeadTensor) is { } head && names.Find(config.TokenTensor) is { } tokens && !AreEqual(file, head, tokens))
            config = config.Untied();
        config = config.FittedTo(names);
        if (config.PredictsMaskedTokens && config.MaskToken is null)
            config = config with { MaskToken = MaskTokens.Of(folder, config.VocabularySize) };
        if (config.SpanTokens is { Sentinels.Count: 0 } spans)
            config = config.WithSpanTokens(spans with { Sentinels = SpanTokens.SentinelsOf(folder, config.VocabularySize) }, config.VocabularySize);
        using var device = new DryDevice();
        using LanguageModel model = config.Create(new Initializer(device, 0));
        _ = new StoredModel(file, model);
        return config;
    }

    /// <summary>Loads a model's weights from a folder and merges the folder's adapters, unless the weights are quantised.</summary>
    internal static void LoadMerged(string folder, LanguageModel model)
    {
        LoadWeights(ConfigFolder(folder), model);
        if (!AdapterFiles.Exist(folder))
            return;
        AdapterFiles.Load(folder, model);
        if (!model.KeepsAdapters)
            model.MergeAdapters();
    }

    /// <summary>The folder itself, or the one that adapters without a model name.</summary>
    public static string ConfigFolder(string folder) =>
        !File.Exists(Path.Combine(folder, Config)) && AdapterFiles.Exist(folder) ? AdapterFiles.BaseOf(folder) : folder;

    /// <summary>Loads a model's parameters by name from a safetensors file, the index of its shards, or a folder with either.</summary>
    /// <exception cref="UserException">A tensor is missing, has another shape, or belongs to no parameter.</exception>
    public static void LoadWeights(string path, LanguageModel model)
    {
        using Safetensors file = Safetensors.Open(path);
        var stored = new StoredModel(file, model);
        foreach ((string copy, string original) in stored.Copies)
        {
            if (!AreEqual(file, copy, original))
                throw new SafetensorsException($"{file.Path}: {copy} differs from {original}, but the model of config.json uses one tensor for both");
        }

        stored.Load();
        model.UnusedTensors = stored.Unused;
        string generation = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(file.Path))!, GenerationConfig.FileName);
        model.GenerationConfig = File.Exists(generation) ? SourceFile.ReadAllBytes(generation, GenerationConfig.MaxFileBytes, "it is no settings of generation") : null;
    }

    /// <summary>Checks that a file has at least as many tensors as the model has layers, and as many elements as its experts.</summary>
    private static void CheckCounts(ModelConfig config, Safetensors file)
    {
        Layers(config.Layers);
        if (config.Describe() is not { } model)
            return;
        Layers(model.Blocks.Count + (model.Encoder?.Blocks.Count ?? 0));
        double experts = model.Blocks.Sum(block => (double)(block.FeedForward.Experts?.Count ?? 0) * block.FeedForward.IntermediateSize * model.HiddenSize);
        double numbers = file.Tensors.Values.Sum(tensor => (double)tensor.Length);
        if (experts > numbers)
            throw new SafetensorsException($"{file.Path}: the file has {numbers:N0} values, but the experts of config.json have {experts:N0} in one product alone; the file belongs to another model");

        void Layers(int count)
        {
            if (count > file.Tensors.Count)
                throw new SafetensorsException($"{file.Path}: the file has {file.Tensors.Count} tensors, but config.json has {count} layers; the file belongs to another model");
        }
    }

    private static bool AreEqual(Safetensors file, string one, string other) =>
        file[one].Shape.SequenceEqual(file[other].Shape) && file.ReadF32(one).AsSpan().SequenceEqual(file.ReadF32(other));

    /// <summary>
    /// Writes a model into an existing folder, flushed to the disk: each parameter in the bits that it has. See <see cref="StoredParameter"/> for
    /// what others cannot read.
    /// </summary>
    public static void Save(string folder, LanguageModel model)
    {
        AtomicFolder.WriteText(Path.Combine(folder, Config), model.Config.ToJson());
        if (model.GenerationConfig is { } generation)
            AtomicFolder.WriteBytes(Path.Combine(folder, GenerationConfig.FileName), generation);
        using var writer = new SafetensorsWriter(
            Path.Combine(folder, Weights), model.Parameters.SelectMany(StoredParameter.Tensors), new Dictionary<string, string> { ["format"] = "pt" });
        foreach (Parameter parameter in model.Parameters)
            StoredParameter.Write(writer, parameter);
        writer.Finish();
    }
}
