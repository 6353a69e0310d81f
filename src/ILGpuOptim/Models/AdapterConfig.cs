using System.Buffers;
using System.Globalization;
using System.Text.Json;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>The settings of LoRA adapters, <c>adapter_config.json</c> of PEFT, read against a closed list.</summary>
internal sealed class AdapterConfig
{
    private const long MaxFileBytes = 16 << 20;

    private const string AllLinear = "all-linear";

    /// <summary>Fields that say how adapters are trained or stored, or that only matter for fields which are refused.</summary>
    private static readonly string[] Ignored =
    [
        "task_type", "auto_mapping", "revision", "inference_mode", "lora_dropout", "fan_in_fan_out",
        "loftq_config", "eva_config", "corda_config", "lora_ga_config", "megatron_core", "qalora_group_size", "runtime_config", "peft_version", "ensure_weight_tying",
    ];

    private readonly double alpha;
    private readonly int rank;
    private readonly bool isRslora, isDora;
    private readonly IReadOnlyList<string>? targets, excluded, lists;
    private readonly IReadOnlyList<int>? layers;
    private readonly JsonFields? ranks, alphas;

    private AdapterConfig(JsonFields fields)
    {
        string type = fields.RequiredText("peft_type");
        if (type != "LORA")
            throw fields.Error("peft_type", $"\"{type}\" is not supported; only LoRA adapters are");
        rank = fields.RequiredInt("r");
        alpha = fields.Number("lora_alpha") ?? throw fields.Error("lora_alpha", "is missing; it must be a number");
        if (rank < 1)
            throw fields.Error("r", $"is {rank}; it must be at least 1");
        (isRslora, isDora) = (fields.Flag("use_rslora") ?? false, fields.Flag("use_dora") ?? false);
        BaseModel = fields.Text("base_model_name_or_path");
        targets = fields.Element("target_modules") is { ValueKind: JsonValueKind.Array } ? fields.Texts("target_modules") : null;
        excluded = fields.Element("exclude_modules") is { ValueKind: JsonValueKind.Array } ? fields.Texts("exclude_modules") : null;
        layers = fields.Element("layers_to_transform") is { ValueKind: JsonValueKind.Array } indices
            ? [.. indices.EnumerateArray().Select(item => item.ValueKind == JsonValueKind.Number && item.TryGetInt32(out int layer) ? layer : throw fields.Error("layers_to_transform", "must be integers"))]
            : fields.Int("layers_to_transform") is { } only ? [only] : null;
        lists = fields.Element("layers_pattern") switch
        {
            { ValueKind: JsonValueKind.Array } value when value.GetArrayLength() == 0 => null,
            { ValueKind: JsonValueKind.Array } => fields.Texts("layers_pattern"),
            _ => fields.Text("layers_pattern") is { Length: > 0 } one ? [one] : null,
        };
        (ranks, alphas) = (fields.Object("rank_pattern"), fields.Object("alpha_pattern"));
        foreach (string pattern in (ranks?.Names ?? []).Concat(alphas?.Names ?? []))
        {
            if (pattern.AsSpan().IndexOfAnyExcept(ModuleCharacters) >= 0)
                throw fields.Error("rank_pattern or alpha_pattern", $"has the regular expression \"{pattern}\"; only names of modules are supported");
        }

        fields.Only("init_lora_weights", IsPlainStart, "such adapters change the frozen weights when they are loaded, which is not supported; save them converted to plain LoRA with PEFT's path_initial_model_for_weight_conversion");
        fields.Only("use_qalora", ConfigFields.IsFalse, "QALoRA is not supported; only LoRA and DoRA adapters are supported");
        fields.Only("lora_bias", ConfigFields.IsFalse, "biases of adapters are not supported");
        fields.Only("bias", value => value.ValueKind == JsonValueKind.String && value.ValueEquals("none"), "trained biases are not supported; merge the adapters with PEFT first");
        foreach (string name in (string[])["modules_to_save", "trainable_token_indices", "layer_replication", "target_parameters", "megatron_config", "alora_invocation_tokens", "arrow_config"])
            fields.Only(name, ConfigFields.IsEmpty, "it changes more than the products that LoRA adapts, which is not supported; merge the adapters with PEFT first");
        fields.Ignore(Ignored);
        fields.Finish();
    }

    private static SearchValues<char> ModuleCharacters { get; } =
        SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.");

    /// <summary>The model whose weights are adapted: a folder, or a name on a hub; or null.</summary>
    public string? BaseModel { get; }

    /// <summary>Reads the settings of a folder.</summary>
    /// <exception cref="UserException">The file is missing or damaged, or has a field that is not understood.</exception>
    public static AdapterConfig Load(string folder) => new(JsonFields.Open(Path.Combine(folder, AdapterFiles.Config), MaxFileBytes));

    /// <summary>True if the settings adapt a module. With a pattern instead of names the tensors decide.</summary>
    public bool Adapts(string module) =>
        (targets is null || targets.Any(target => target == AllLinear || Means(target, module))) && excluded?.Any(name => Means(name, module)) != true
        && (layers is null || layers.Count == 0 || layers.Contains(LayerOf(module)));

    /// <summary>True if the settings name a module, so that its adapter must be in the file.</summary>
    public bool Names(string module) => targets is not null && !targets.Contains(AllLinear) && Adapts(module);

    /// <summary>Rank, alpha and form of a module's adapter.</summary>
    public LoraOptions OptionsOf(string module) => new()
    {
        Rank = Find(ranks, module) is { } ranked ? ranks!.RequiredInt(ranked) : rank,
        Alpha = Find(alphas, module) is { } scaled ? alphas!.Number(scaled) ?? alpha : alpha,
        Rslora = isRslora,
        Dora = isDora,
    };

    private static string? Find(JsonFields? patterns, string module) => patterns?.Names.FirstOrDefault(pattern => Means(pattern, module));

    private static bool Means(string name, string module) => module == name || module.EndsWith("." + name, StringComparison.Ordinal);

    /// <summary>The number of a module's layer, the last number among the parts of its name, behind a name of <c>layers_pattern</c> if there are some; −1 outside the layers.</summary>
    private int LayerOf(string module)
    {
        string[] parts = module.Split('.');
        for (int i = parts.Length - 2; i > 0; i--)
        {
            if (int.TryParse(parts[i], NumberStyles.None, CultureInfo.InvariantCulture, out int layer) && lists?.Contains(parts[i - 1]) != false)
                return layer;
        }

        return -1;
    }

    private static bool IsPlainStart(JsonElement value) =>
        value.ValueKind is JsonValueKind.True or JsonValueKind.False || (value.ValueKind == JsonValueKind.String && value.ValueEquals("gaussian"));
}
