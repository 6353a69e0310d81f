using System.Runtime.InteropServices;
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

    /// <summary>Reads a model.</summary>
    /// <exception cref="UserException">A file is missing, damaged, or does not belong to the other.</exception>
    public static LanguageModel Load(string folder, Device device)
    {
        ModelConfig config = ModelConfig.Load(Path.Combine(folder, Config));
        LanguageModel model = config.Create(new Initializer(device, 0));
        try
        {
            LoadWeights(folder, model.Parameters);
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>Fills parameters by their names from a safetensors file, the index of its shards, or a folder with either.</summary>
    /// <exception cref="UserException">A tensor is missing or has another shape.</exception>
    public static void LoadWeights(string path, IEnumerable<Parameter> parameters)
    {
        using Safetensors file = Safetensors.Open(path);
        foreach (Parameter parameter in parameters)
        {
            // Hugging Face writes GPT-2 both with and without this prefix.
            string name = file.Tensors.ContainsKey(parameter.Name) ? parameter.Name : "transformer." + parameter.Name;
            if (!file.Tensors.TryGetValue(name, out SafetensorsEntry? entry))
                throw new SafetensorsException($"{file.Path}: there is no tensor {parameter.Name}; the file belongs to another model than its config.json");
            if (!entry.Shape.SequenceEqual(parameter.Shape.Select(size => (long)size)))
                throw new SafetensorsException($"{file.Path}: {name} is {string.Join('×', entry.Shape)}, but config.json makes it {parameter}");
            parameter.Load(file.ReadF32(name));
        }
    }

    /// <summary>Writes a model into an existing folder, flushed to the disk.</summary>
    public static void Save(string folder, LanguageModel model)
    {
        AtomicFolder.WriteText(Path.Combine(folder, Config), model.Config.ToJson());
        using var writer = new SafetensorsWriter(
            Path.Combine(folder, Weights),
            model.Parameters.Select(parameter => (parameter.Name, "F32", parameter.Shape)),
            new Dictionary<string, string> { ["format"] = "pt" });
        foreach (Parameter parameter in model.Parameters)
            writer.Write(parameter.Name, MemoryMarshal.AsBytes<float>(parameter.ToArray()));
        writer.Finish();
    }
}
