using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using ILGpuOptim.Data;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Training;

/// <summary>Everything that determines a training run. A run writes it back with every default filled in.</summary>
public sealed record TrainingSettings
{
    /// <summary>What the other settings start from.</summary>
    public string Preset { get; init; } = "default";

    /// <summary>Text files or folders, or token files; empty means the embedded corpus.</summary>
    public IReadOnlyList<string> Data { get; init; } = [];

    /// <summary>char or byte.</summary>
    public string Tokenizer { get; init; } = "char";

    /// <summary>The part of the text that validates; 0 trains on all of it.</summary>
    [Range(0, 1, Below = true)]
    public double Validation { get; init; } = 0.1;

    /// <summary>The model to train from fresh weights, as in <c>config.json</c>; null means a GPT-2. Its vocabulary follows the data.</summary>
    public ModelConfig? Model { get; init; }

    /// <summary>The folder of a model whose weights training begins with, instead of <see cref="Model"/>; or null.</summary>
    public string? From { get; init; }

    /// <summary>Names of parameters that stay as they are; * stands for anything.</summary>
    public IReadOnlyList<string> Freeze { get; init; } = [];

    /// <summary>Trains low-rank adapters beside frozen weights; null trains the weights.</summary>
    public LoraOptions? Lora { get; init; }

    /// <summary>Transformer layers; null means those of <see cref="Model"/>, or 4.</summary>
    [Range(1, 1000)]
    public int? Layers { get; init; }

    /// <summary>Attention heads; null means those of <see cref="Model"/>, or 4.</summary>
    [Range(1, 1 << 20)]
    public int? Heads { get; init; }

    /// <summary>Numbers for each token; null means those of <see cref="Model"/>, or 128.</summary>
    [Range(1, 1 << 20)]
    [FormerName("channels")]
    public int? HiddenSize { get; init; }

    /// <summary>Tokens of a training sequence, and the positions of a fresh model.</summary>
    [Range(1, 1 << 24)]
    public int Block { get; init; } = 64;

    /// <summary>How parameters are stored while they are trained; adapters stay in f32.</summary>
    public ParameterStorage ParameterType { get; init; }

    /// <summary>Dropout everywhere; null means that of <see cref="Model"/>, or none.</summary>
    [Range(0, 1, Below = true)]
    public double? Dropout { get; init; }

    /// <summary>The part of the tokens that a masked language model, or one of an encoder and a decoder, has to predict.</summary>
    [Range(0, 1, Above = true, Below = true)]
    public double MaskedPart { get; init; } = 0.15;

    /// <summary>The mean number of tokens of a hidden span, for models of an encoder and a decoder.</summary>
    [Range(1, 1 << 20)]
    public double MeanSpan { get; init; } = 3;

    /// <summary>Sequences of a batch.</summary>
    [Range(1, 1 << 24)]
    public int Batch { get; init; } = 12;

    /// <summary>
    /// How the windows of training batches are drawn: every window once an epoch, or independent random positions. Validation batches are random
    /// positions, the same each time.
    /// </summary>
    public Sampling Sampling { get; init; }

    /// <summary>
    /// Whether training and validation keep documents apart: attention stays within a document, positions restart with each, and the first token of a
    /// document is not predicted. Windows hold several documents, or parts of them.
    /// </summary>
    public bool Documents { get; init; }

    /// <summary>With <see cref="Documents"/>: each window lies within one document and is padded to the block, instead of holding several.</summary>
    public bool Pad { get; init; }

    /// <summary>Batches whose gradients are added up before an update.</summary>
    [Range(1)]
    public int Accumulate { get; init; } = 1;

    /// <summary>Updates.</summary>
    [Range(0)]
    public int Steps { get; init; } = 2000;

    /// <summary>The optimizer and its settings.</summary>
    public OptimizerSettings Optimizer { get; init; } = new();

    /// <summary>How the learning rate changes.</summary>
    public ScheduleKind Schedule { get; init; } = ScheduleKind.Cosine;

    /// <summary>Steps of warm-up.</summary>
    [Range(0)]
    public int Warmup { get; init; } = 100;

    /// <summary>The learning rate at the end, as a part of its peak.</summary>
    [Range(0, 1)]
    public double FinalRate { get; init; } = 0.1;

    /// <summary>The global norm above which gradients are scaled down; 0 never.</summary>
    [Range(0)]
    public double Clip { get; init; } = 1;

    /// <summary>
    /// Whether each parameter is updated as soon as its gradient is complete, within the backward pass, and the gradient's memory given back: the
    /// gradients of one operation exist at once, not all. Without clipping by the global norm and without accumulation.
    /// </summary>
    public bool Layerwise { get; init; }

    /// <summary>
    /// Whether activations within a block are computed again in the backward pass instead of being kept: about a third more time, and memory for one
    /// block's activations and the residual stream of each. Losses and gradients keep their bits.
    /// </summary>
    public bool Recompute { get; init; }

    /// <summary>Repeats initialisation, batches and dropout.</summary>
    [Range(0)]
    public ulong Seed { get; init; } = 1;

    /// <summary>Steps between validations.</summary>
    [Range(1)]
    public int EvalInterval { get; init; } = 250;

    /// <summary>Batches of a validation; 0 validates nothing.</summary>
    [Range(0, 1_000_000)]
    public int EvalBatches { get; init; } = 60;

    /// <summary>Steps between checkpoints; 0 saves at the end alone.</summary>
    [Range(0)]
    public int CheckpointInterval { get; init; } = 250;

    /// <summary>The newest checkpoints that are kept, beside the best.</summary>
    [Range(1)]
    public int Keep { get; init; } = 2;

    /// <summary>cpu or reference.</summary>
    public string Device { get; init; } = "cpu";

    /// <summary>Threads of the cpu; 0 means one for each core.</summary>
    [Range(0, 1024)]
    public int Threads { get; init; }

    /// <summary>The most tokens of a batch; their ids are kept in memory, and each needs far more than that on the device.</summary>
    private const int MostTokens = 1 << 24;

    internal static readonly JsonSerializerOptions Options = new()
    {
        WriteIndented = true,
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DictionaryKeyPolicy = JsonNamingPolicy.SnakeCaseLower,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.SnakeCaseLower) },
    };

    /// <summary>The settings as JSON.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, Options);

    /// <summary>
    /// Reads settings; what the file does not say stays as in the preset it names. A run's record in the file is not read, but where there is one, the
    /// file is taken as <see cref="LoadRun"/> takes it: settings of earlier runs give the same losses again.
    /// </summary>
    /// <exception cref="UserException">The file is missing, has something that is no setting, or a value outside its range.</exception>
    public static TrainingSettings Load(string path) => Read(JsonFields.Open(path));

    /// <summary>Reads the settings of a run. Runs of earlier versions do not name the <see cref="Sampling"/>; theirs is random.</summary>
    /// <exception cref="UserException">As for <see cref="Load"/>.</exception>
    public static TrainingSettings LoadRun(string path) => Read(JsonFields.Open(path), isRun: true);

    /// <summary>As <see cref="Load"/>, from text.</summary>
    /// <exception cref="UserException">As for <see cref="Load"/>.</exception>
    public static TrainingSettings Parse(string json) => Read(JsonFields.Parse(Encoding.UTF8.GetBytes(json), "settings"));

    private static TrainingSettings Read(JsonFields fields, bool isRun = false)
    {
        TrainingSettings start = Named(fields, "preset", name => Presets.Find(name ?? "default"));
        if (isRun || fields.Has(RunRecord.Field))
            start = start with { Sampling = Sampling.Random };
        if (fields.Object("optimizer") is { } optimizer)
            start = Named(optimizer, "name", name => name is null ? start : start with { Optimizer = start.Optimizer.For(name) });
        var settings = (TrainingSettings)SettingsReader.Read(fields, start, RunRecord.Field);
        try
        {
            Ranges.Check(settings);
        }
        catch (SettingException e)
        {
            throw e.Named($"{fields.Source}: {string.Join('.', e.Path.Split('.').Select(Values.NameOf))}");
        }

        return settings;
    }

    /// <summary>What a field names, such as a preset.</summary>
    private static T Named<T>(JsonFields fields, string field, Func<string?, T> find)
    {
        string? name = fields.Text(field);
        try
        {
            return find(name);
        }
        catch (UserException e)
        {
            throw new UserException($"{fields.Source}: {e.Message}", e);
        }
    }

    /// <summary>Fails on values that cannot work. What the optimizer does not have is no error here: see <see cref="OptimizerSettings.Check"/>.</summary>
    /// <exception cref="SettingException">A setting is out of range.</exception>
    /// <exception cref="UserException">Settings contradict each other.</exception>
    public void Check()
    {
        Ranges.Check(this);
        if (From is not null && (Model is not null || Layers is not null || Heads is not null || HiddenSize is not null))
            throw new UserException($"--from {From}: that model has sizes of its own; leave out --model, --layers, --heads and --hidden-size");
        if ((long)Batch * Block > MostTokens)
            throw new UserException($"--batch {Batch} with --block {Block}: a batch of {(long)Batch * Block:N0} tokens is above the limit of {MostTokens:N0}; use a smaller --batch (with --accumulate) or --block");
        if (Pad && !Documents)
            throw new UserException("--pad gives each document windows of its own, so it needs their ends; add --documents");
        if (Layerwise && Clip > 0)
            throw new UserException($"--layerwise updates parameters before the norm of all gradients is known, so it cannot clip by it (--clip {Clip}); add --clip 0");
        if (Layerwise && Accumulate > 1)
            throw new UserException($"--layerwise keeps no gradients from one batch to the next, so it cannot add up those of {Accumulate} batches; leave out --accumulate and raise --batch");
    }
}
