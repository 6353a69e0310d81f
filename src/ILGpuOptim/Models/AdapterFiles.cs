using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>LoRA and DoRA adapters in PEFT's layout: <c>adapter_config.json</c> and <c>adapter_model.safetensors</c> in a folder.</summary>
public static class AdapterFiles
{
    /// <summary>The file of the settings.</summary>
    internal const string Config = "adapter_config.json";

    /// <summary>The file of the matrices.</summary>
    internal const string Weights = "adapter_model.safetensors";

    private const string Prefix = "base_model.model.";

    /// <summary>The ends of the names of an adapter's tensors: A, B, and DoRA's magnitudes.</summary>
    private static readonly string[] Parts = [".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"];

    /// <summary>True if a folder has adapters.</summary>
    public static bool Exist(string folder) => File.Exists(Path.Combine(folder, Config));

    /// <summary>Writes a model's adapters into an existing folder, flushed to the disk.</summary>
    /// <param name="folder">Where.</param>
    /// <param name="model">With adapters of the same options.</param>
    /// <param name="baseModel">Where the frozen weights come from, for those who load the adapters; or null.</param>
    public static void Save(string folder, LanguageModel model, string? baseModel)
    {
        LoraOptions options = model.Adapters[0].Options;
        var config = new JsonObject
        {
            ["peft_type"] = "LORA",
            ["task_type"] = model.HasEncoder ? "SEQ_2_SEQ_LM" : model.IsCausal ? "CAUSAL_LM" : null,
            ["base_model_name_or_path"] = baseModel,
            ["r"] = options.Rank,
            ["lora_alpha"] = Number(options.Alpha),
            ["use_rslora"] = options.Rslora,
            ["use_dora"] = options.Dora,
            ["lora_dropout"] = 0.0,
            ["target_modules"] = new JsonArray([.. Targets(model).Select(target => (JsonNode)target)]),
            ["fan_in_fan_out"] = model.Linears.Any(linear => !linear.IsTransposed),
            ["bias"] = "none",
            ["inference_mode"] = true,
            ["modules_to_save"] = null,
        };
        AtomicFolder.WriteText(Path.Combine(folder, Config), config.ToJsonString(new JsonSerializerOptions { WriteIndented = true }));
        Parameter[] parameters = [.. model.Adapters.SelectMany(adapter => adapter.Parameters)];
        using var writer = new SafetensorsWriter(
            Path.Combine(folder, Weights),
            parameters.Select(parameter => (Prefix + model.Config.ModulePrefix + parameter.Name, "F32", parameter.Shape)),
            new Dictionary<string, string> { ["format"] = "pt" });
        foreach (Parameter parameter in parameters)
            writer.Write(Prefix + model.Config.ModulePrefix + parameter.Name, MemoryMarshal.AsBytes<float>(parameter.ToArray()));
        writer.Finish();
    }

    /// <summary>Loads a model's adapters from a folder, adding those that it lacks.</summary>
    /// <exception cref="UserException">A file is missing or damaged, or belongs to another model.</exception>
    public static void Load(string folder, LanguageModel model)
    {
        AdapterConfig config = AdapterConfig.Load(folder);
        using Safetensors file = Safetensors.Open(Path.Combine(folder, Weights));
        Dictionary<string, Linear> products = model.Adaptable.ToDictionary(linear => TensorNames.Bare(linear.Name, model.Config));
        var found = new Dictionary<Linear, string?[]>();
        foreach (string name in file.Tensors.Keys)
        {
            (string? module, int part) = Parse(name);
            if (module is null || !products.TryGetValue(TensorNames.Bare(module, model.Config), out Linear? linear))
                throw new SafetensorsException($"{file.Path}: {name} adapts nothing that the model has; the adapters belong to another model, or are not LoRA's");
            if (!config.Adapts(model.Config.ModulePrefix + linear.Name))
                throw new SafetensorsException($"{file.Path}: {name} adapts a module that {Config} leaves out by target_modules, exclude_modules or layers_to_transform; the two files do not belong together");
            if (!found.TryGetValue(linear, out string?[]? names))
                found[linear] = names = new string?[Parts.Length];
            if (names[part] is { } other)
                throw new SafetensorsException($"{file.Path}: {name} and {other} adapt the same product; remove one of them");
            names[part] = name;
        }

        var initializer = new Initializer(model.Device, 0);
        foreach ((Linear linear, string?[] names) in found)
        {
            // Shapes first: the rank may be any number where a tensor is empty.
            LoraOptions options = config.OptionsOf(model.Config.ModulePrefix + linear.Name);
            string any = names.OfType<string>().First();
            if (names[0] is not { } a || names[1] is not { } b || (options.Dora && names[2] is null))
                throw new SafetensorsException($"{file.Path}: beside {any} there is no {linear.Name}{Parts[Array.IndexOf(names, null)]}; the file is incomplete");
            if (!options.Dora && names[2] is { } magnitude)
                throw new SafetensorsException($"{file.Path}: {magnitude} is of DoRA, but {Config} has no use_dora; the two files do not belong together");
            if (!file[a].Shape.SequenceEqual([options.Rank, linear.Inputs]) || !file[b].Shape.SequenceEqual([linear.Outputs, options.Rank]))
                throw new SafetensorsException($"{file.Path}: {a} is {string.Join('×', file[a].Shape)} and {b} is {string.Join('×', file[b].Shape)}, but {Config} and the model make them {options.Rank}×{linear.Inputs} and {linear.Outputs}×{options.Rank}");
            if (names[2] is { } vector && !file[vector].Shape.SequenceEqual([linear.Outputs]))
                throw new SafetensorsException($"{file.Path}: {vector} is {string.Join('×', file[vector].Shape)}, but the model makes it {linear.Outputs}");
            LoraAdapter adapter = linear.Adapter ?? model.AddAdapter(linear, options, initializer);
            if (adapter.Options.Rank != options.Rank)
                throw new SafetensorsException($"{file.Path}: {a} has rank {options.Rank}, but the run's adapters have {adapter.Options.Rank}");
            if (adapter.Options.Dora != options.Dora)
                throw new SafetensorsException($"{file.Path}: the adapters are {FormOf(options)}, but the run's are {FormOf(adapter.Options)}; a run keeps the form of its adapters");
            adapter.A.Load(file.ReadF32(a));
            adapter.B.Load(file.ReadF32(b));
            adapter.Magnitude?.Load(file.ReadF32(names[2]!));
        }

        if (model.Adapters.FirstOrDefault(adapter => !found.Keys.Any(linear => linear.Adapter == adapter)) is { } missing)
            throw new SafetensorsException($"{file.Path}: there is no tensor {missing.A.Name}; the adapters were made with other targets");
        if (found.Count == 0)
            throw new SafetensorsException($"{file.Path}: there are no adapters in this file");
        if (products.Values.FirstOrDefault(linear => !found.ContainsKey(linear) && config.Names(model.Config.ModulePrefix + linear.Name)) is { } named)
            throw new SafetensorsException($"{file.Path}: there is no adapter of {named.Name}, which target_modules of {Config} names; the file is incomplete, download it again");
    }

    /// <summary>The folder of the frozen weights that a folder of adapters alone names.</summary>
    /// <exception cref="UserException">It names none, or none that is on this machine.</exception>
    public static string BaseOf(string folder)
    {
        string path = Path.Combine(folder, Config);
        string? name = AdapterConfig.Load(folder).BaseModel;
        if (string.IsNullOrEmpty(name))
            throw new UserException($"{path}: there is no base_model_name_or_path, so the adapters' model is not known; put its folder there");
        string near = Path.Combine(folder, name);
        return File.Exists(Path.Combine(near, ModelFiles.Config)) ? near
            : File.Exists(Path.Combine(name, ModelFiles.Config)) ? name
            : throw new UserException($"{path}: base_model_name_or_path = \"{name}\" is no folder with a {ModelFiles.Config} here; download the model and put its folder there");
    }

    /// <summary>The last parts of names where they say it all, whole names otherwise: PEFT takes both.</summary>
    private static IEnumerable<string> Targets(LanguageModel model)
    {
        string[] parts = [.. model.Adapters.Select(adapter => LanguageModel.LastPart(adapter.Module)).Distinct()];
        int meant = model.Linears.Count(linear => parts.Contains(LanguageModel.LastPart(linear.Name)));
        return meant == model.Adapters.Count ? parts : model.Adapters.Select(adapter => model.Config.ModulePrefix + adapter.Module);
    }

    /// <summary>The module that a tensor adapts, and which of <see cref="Parts"/> it is; null if it is none.</summary>
    private static (string? Module, int Part) Parse(string name)
    {
        name = name.StartsWith(Prefix, StringComparison.Ordinal) ? name[Prefix.Length..] : name;
        int part = Array.FindIndex(Parts, end => name.EndsWith(end, StringComparison.Ordinal));
        return part < 0 ? (null, part) : (name[..^Parts[part].Length], part);
    }

    private static string FormOf(LoraOptions options) => options.Dora ? "DoRA" : "LoRA";

    /// <summary>16 rather than 16.0, as PEFT writes it.</summary>
    private static JsonNode Number(double value) => value == Math.Floor(value) ? (JsonNode)(long)value : value;
}
