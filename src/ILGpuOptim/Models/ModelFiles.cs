using ILGpuOptim.Compute;
using ILGpuOptim.Files;
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
        ModelConfig config = ModelConfig.Load(Path.Combine(ConfigFolder(folder), Config));
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
        var names = new TensorNames(file);
        (Parameter Parameter, string? Name)[] found = [.. model.Parameters.Select(parameter => (parameter, names.Find(parameter.Name)))];
        string[] missing = [.. found.Where(item => item.Name is null).Select(item => item.Parameter.Name)];
        if (missing.Length > 0)
            throw new SafetensorsException($"{file.Path}: there is no tensor {TensorNames.List(missing)}; the file belongs to another model than its config.json");
        names.CheckOthers(found.SelectMany(item => StoredParameter.Names(file, item.Name!)), model.IgnoredTensors);
        foreach ((Parameter parameter, string? name) in found)
        {
            SafetensorsEntry entry = file[name!];
            if (!entry.Shape.SequenceEqual(parameter.Shape.Select(size => (long)size)))
                throw new SafetensorsException($"{file.Path}: {name} is {string.Join('×', entry.Shape)}, but config.json makes it {parameter}");
            StoredParameter.Load(file, name!, parameter);
        }
    }

    /// <summary>
    /// Writes a model into an existing folder, flushed to the disk: each parameter in the bits that it has. See <see cref="StoredParameter"/> for
    /// what others cannot read.
    /// </summary>
    public static void Save(string folder, LanguageModel model)
    {
        AtomicFolder.WriteText(Path.Combine(folder, Config), model.Config.ToJson());
        using var writer = new SafetensorsWriter(
            Path.Combine(folder, Weights), model.Parameters.SelectMany(StoredParameter.Tensors), new Dictionary<string, string> { ["format"] = "pt" });
        foreach (Parameter parameter in model.Parameters)
            StoredParameter.Write(writer, parameter);
        writer.Finish();
    }
}
