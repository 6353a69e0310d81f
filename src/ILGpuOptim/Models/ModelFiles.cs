using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Generation;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>Models in Hugging Face's layout: <c>config.json</c> and <c>model.safetensors</c> in a folder.</summary>
public static class ModelFiles
{
    /// <summary>The file of the weights.</summary>
    public const string Weights = Safetensors.FileName;

    /// <summary>The file of the configuration.</summary>
    public const string Config = "config.json";

    /// <summary>Reads a model. Adapters in the folder are merged into its weights; they may lie alone beside the name of their model's folder.</summary>
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

    /// <summary>Reads the configuration of a folder, and checks it against the names and shapes of the weights' file: nothing is allocated for sizes that the file does not have.</summary>
    /// <exception cref="UserException">A file is missing, damaged, or does not belong to the other.</exception>
    public static ModelConfig LoadConfig(string folder)
    {
        folder = ConfigFolder(folder);
        ModelConfig config = ModelConfig.Load(Path.Combine(folder, Config));
        using Safetensors file = Safetensors.Open(folder);
        if (config.Depth > file.Tensors.Count)
            throw new SafetensorsException($"{file.Path}: the file has {file.Tensors.Count} tensors, but config.json has {config.Depth} layers; the file belongs to another model");
        using var device = new DryDevice();
        using LanguageModel model = config.Create(new Initializer(device, 0));
        _ = Match(file, model, out _);
        return config;
    }

    /// <summary>Fills a model from a folder, and merges the folder's adapters into it.</summary>
    internal static void LoadMerged(string folder, LanguageModel model)
    {
        LoadWeights(ConfigFolder(folder), model);
        if (!AdapterFiles.Exist(folder))
            return;
        AdapterFiles.Load(folder, model);
        model.MergeAdapters();
    }

    /// <summary>The folder itself, or the one that adapters without a model name.</summary>
    internal static string ConfigFolder(string folder) =>
        !File.Exists(Path.Combine(folder, Config)) && AdapterFiles.Exist(folder) ? AdapterFiles.BaseOf(folder) : folder;

    /// <summary>Fills a model's parameters by their names from a safetensors file, the index of its shards, or a folder with either.</summary>
    /// <exception cref="UserException">A tensor is missing, has another shape, or belongs to no parameter.</exception>
    public static void LoadWeights(string path, LanguageModel model)
    {
        using Safetensors file = Safetensors.Open(path);
        IReadOnlyList<(Parameter Parameter, string Name)> found = Match(file, model, out IReadOnlyList<(string Copy, string Original)> tied);
        foreach ((string copy, string original) in tied)
        {
            if (!file[copy].Shape.SequenceEqual(file[original].Shape) || !file.ReadF32(copy).AsSpan().SequenceEqual(file.ReadF32(original)))
                throw new SafetensorsException($"{file.Path}: {copy} differs from {original}, but the model of config.json uses one tensor for both; if the head has a matrix of its own, set tie_word_embeddings to false where the family supports it");
        }

        foreach ((Parameter parameter, string name) in found)
            StoredParameter.Load(file, name, parameter);
        string generation = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(file.Path))!, GenerationConfig.FileName);
        model.GenerationConfig = File.Exists(generation) ? SourceFile.ReadAllBytes(generation, GenerationConfig.MaxFileBytes, "it is no settings of generation") : null;
    }

    /// <summary>The tensors of a file that fill a model's parameters, in the model's order; the header alone is read.</summary>
    /// <param name="file">The file.</param>
    /// <param name="model">The model.</param>
    /// <param name="tied">Tensors that must have the same values as another one.</param>
    /// <exception cref="UserException">A tensor is missing, has another shape, or belongs to no parameter.</exception>
    private static List<(Parameter Parameter, string Name)> Match(Safetensors file, LanguageModel model, out IReadOnlyList<(string Copy, string Original)> tied)
    {
        var names = new TensorNames(file);
        (Parameter Parameter, string? Name)[] found = [.. model.Parameters.Select(parameter => (parameter, names.Find(parameter.Name)))];
        string[] missing = [.. found.Where(item => item.Name is null).Select(item => item.Parameter.Name)];
        if (missing.Length > 0)
            throw new SafetensorsException($"{file.Path}: there is no tensor {TensorNames.List(missing)}; the file belongs to another model than its config.json");
        var result = new List<(Parameter, string)>();
        foreach ((Parameter parameter, string? name) in found)
        {
            SafetensorsEntry entry = file[name!];
            if (!entry.Shape.SequenceEqual(parameter.Shape.Select(size => (long)size)))
                throw new SafetensorsException($"{file.Path}: {name} is {string.Join('×', entry.Shape)}, but config.json makes it {parameter}");
            result.Add((parameter, name!));
        }

        ModelConfig config = model.Config;
        tied = [.. config.TiedCopies
            .Select(copy => (Copy: names.Find(copy.Key), Original: names.Find(copy.Value)!))
            .Where(pair => pair.Copy is not null && pair.Copy != pair.Original)
            .Select(pair => (pair.Copy!, pair.Original))];
        names.CheckOthers(result.SelectMany(item => StoredParameter.Names(file, item.Item2)).Concat(tied.Select(pair => pair.Copy)), [.. config.IgnoredTensors, .. config.OtherHeads]);
        model.UnusedTensors = names.Matching(config.OtherHeads);
        return result;
    }

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
