using System.Text;
using System.Text.Json.Nodes;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Distributed;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;
using ILGpuOptim.Optim;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Training;

/// <summary>Everything that determines a training run. A run saves its settings with every default filled in.</summary>
public sealed record TrainingSettings
{
    /// <summary>The name of the preset that supplies the defaults; see <see cref="Presets"/>.</summary>
    public string Preset { get; init; } = "default";

    /// <summary>Text files, folders or token files; empty means the embedded corpus.</summary>
    public IReadOnlyList<string> Data { get; init; } = [];

    /// <summary>The tokenizer: <c>char</c>, <c>byte</c>, a built-in encoding, or a path, as for <see cref="Tokenizers.Open"/>.</summary>
    public string Tokenizer { get; init; } = "char";

    /// <summary>
    /// The template of conversations (JSON lines with <c>messages</c>, or <c>prompt</c> and <c>completion</c>): <c>chatml</c>, or a file. Null means that of
    /// <see cref="From"/>, else <c>chatml</c>.
    /// </summary>
    public string? ChatTemplate { get; init; }

    /// <summary>The fraction of the text used for validation; 0 trains on all of it.</summary>
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Validation { get; init; } = DefaultValidation;

    /// <summary>The configuration of a model to train from scratch, as in <c>config.json</c>; null means a GPT-2. Its vocabulary is that of the data.</summary>
    public ModelConfig? Model { get; init; }

    /// <summary>The folder of a model whose weights training starts from, instead of <see cref="Model"/>; or null.</summary>
    public string? From { get; init; }

    /// <summary>Names of frozen parameters; * matches anything.</summary>
    public IReadOnlyList<string> Freeze { get; init; } = [];

    /// <summary>Trains low-rank adapters and freezes the weights; null trains the weights.</summary>
    public LoraOptions? Lora { get; init; }

    /// <summary>The loss of pairs of answers (JSON lines with <c>prompt</c>, <c>chosen</c> and <c>rejected</c>); other data has its own loss.</summary>
    public DpoOptions Dpo { get; init; } = new();

    /// <summary>The number of transformer layers; null means that of <see cref="Model"/>, or 4.</summary>
    [Range(1, 1000)]
    public int? Layers { get; init; }

    /// <summary>The number of attention heads; null means that of <see cref="Model"/>, or 4.</summary>
    [Range(1, 1 << 20)]
    public int? Heads { get; init; }

    /// <summary>The hidden size; null means that of <see cref="Model"/>, or 128.</summary>
    [Range(1, 1 << 20)]
    [FormerName("channels")]
    public int? HiddenSize { get; init; }

    /// <summary>Tokens per training sequence, and positions of a new model.</summary>
    [Range(1, 1 << 24)]
    public int Block { get; init; } = 64;

    /// <summary>Storage type of parameters during training; adapters stay in f32.</summary>
    public ParameterStorage ParameterType { get; init; }

    /// <summary>
    /// How products and attention multiply, and how activations and their gradients are stored: with <see cref="Compute.Precision.BF16"/> in bf16, else in
    /// f32. Sums, losses, statistics of rows and gradients of parameters are f32 always.
    /// </summary>
    public Precision Precision { get; init; }

    /// <summary>Dropout probability of all layers; null means that of <see cref="Model"/>, or none.</summary>
    [Range(0, 1, MaximumIsExclusive = true)]
    public double? Dropout { get; init; }

    /// <summary>The fraction of tokens that a masked language model or an encoder–decoder model has to predict.</summary>
    [Range(0, 1, MinimumIsExclusive = true, MaximumIsExclusive = true)]
    [FormerName("masked_part")]
    public double MaskedFraction { get; init; } = 0.15;

    /// <summary>The mean number of tokens of a hidden span, for encoder–decoder models.</summary>
    [Range(1, 1 << 20)]
    public double MeanSpan { get; init; } = 3;

    /// <summary>Sequences per batch.</summary>
    [Range(1, 1 << 24)]
    public int Batch { get; init; } = 12;

    /// <summary>
    /// How training windows are sampled: every window once per epoch, or independent random positions. Validation batches are at random positions, the
    /// same each time.
    /// </summary>
    public Sampling Sampling { get; init; }

    /// <summary>
    /// Keeps documents apart in training and validation: attention stays within a document, positions restart with each, and the first token of a
    /// document is not predicted. A window holds several documents, or parts of them.
    /// </summary>
    public bool Documents { get; init; }

    /// <summary>With <see cref="Documents"/>: each window lies within one document and is padded to <see cref="Block"/>.</summary>
    public bool Pad { get; init; }

    /// <summary>Batches per update, whose gradients are summed.</summary>
    [Range(1)]
    public int Accumulate { get; init; } = 1;

    /// <summary>
    /// Virtual shards of a step, a power of two. Each has <see cref="Accumulate"/> batches and random numbers of its own, and the gradients of the shards are
    /// summed along a binary tree. Ranks of a <see cref="Distributed.Communicator"/> share the shards equally; results do not depend on the number of ranks.
    /// </summary>
    [Range(1, 1024)]
    public int Shards { get; init; } = 1;

    /// <summary>How ranks send gradients to each other, and how those of shards are rounded before they are added.</summary>
    public GradientExchange GradientExchange { get; init; }

    /// <summary>The number of updates.</summary>
    [Range(0)]
    public int Steps { get; init; } = 2000;

    /// <summary>The optimizer and its settings.</summary>
    public OptimizerSettings Optimizer { get; init; } = new();

    /// <summary>The learning-rate schedule; null means a cosine, or constant for an optimizer that averages weights instead of lowering its rate.</summary>
    public ScheduleKind? Schedule { get; init; }

    /// <summary>Warm-up steps of the learning rate; null means those recommended for the optimizer, at most a tenth of <see cref="Steps"/>.</summary>
    [Range(0)]
    public int? Warmup { get; init; }

    /// <summary>The learning rate at the end, as a fraction of its peak.</summary>
    [Range(0, 1)]
    public double FinalRate { get; init; } = DefaultFinalRate;

    /// <summary>Gradients are clipped to this global norm; 0 disables clipping.</summary>
    [Range(0)]
    public double Clip { get; init; } = 1;

    /// <summary>
    /// Finds steps whose loss is more than this number of standard deviations above the running mean of the steps before (z-score), and losses and
    /// gradient norms that are not finite; 0: none. The loss is then read before the update, which on a GPU waits for it.
    /// </summary>
    [Range(0)]
    public double SpikeThreshold { get; init; }

    /// <summary>What happens to such a step.</summary>
    public SpikeAction OnSpike { get; init; }

    /// <summary>What <see cref="SpikeThreshold"/> is compared with.</summary>
    public SpikeMeasure SpikeMeasure { get; init; }

    /// <summary>Steps of the running mean and variance; a step is compared once there are so many before it.</summary>
    [Range(2, 1_000_000)]
    public int SpikeWindow { get; init; } = DefaultSpikeWindow;

    /// <summary>
    /// The decay of an exponential moving average of the trained weights, such as 0.999; 0: none. The decay after n updates is at most (1 + n) / (10 + n).
    /// Validations and samples use the average; checkpoints hold it beside the weights.
    /// </summary>
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Ema { get; init; }

    /// <summary>
    /// Updates each parameter within the backward pass, as soon as its gradient is complete, and then frees the gradient: only the gradients of one
    /// operation exist at a time. Excludes clipping by the global norm and accumulation.
    /// </summary>
    public bool Layerwise { get; init; }

    /// <summary>
    /// Recomputes the activations of a transformer block in the backward pass instead of keeping them: about a third more time, and memory for one
    /// block's activations and the residual stream of each. Losses and gradients are the same bit for bit.
    /// </summary>
    public bool Recompute { get; init; }

    /// <summary>The seed of initialisation, batches and dropout.</summary>
    [Range(0)]
    public ulong Seed { get; init; } = 1;

    /// <summary>Steps between validations.</summary>
    [Range(1)]
    public int EvalInterval { get; init; } = 250;

    /// <summary>Batches per validation; 0 disables validation.</summary>
    [Range(0, 1_000_000)]
    public int EvalBatches { get; init; } = 60;

    /// <summary>Steps between samples of text (<see cref="TrainingRun.Sample"/>) during training; 0: none.</summary>
    [Range(0)]
    public int SampleInterval { get; init; }

    /// <summary>Steps between records of each parameter's gradient norm and update-to-weight ratio (<see cref="StepResult.Layers"/>); 0: none.</summary>
    [Range(0)]
    public int LayerInterval { get; init; }

    /// <summary>Writes events for TensorBoard to the folder <c>tensorboard</c> of the run.</summary>
    public bool TensorBoard { get; init; }

    /// <summary>Steps between checkpoints; 0 saves only at the end.</summary>
    [Range(0)]
    public int CheckpointInterval { get; init; } = 250;

    /// <summary>The number of recent checkpoints to keep, in addition to the best.</summary>
    [Range(1)]
    public int Keep { get; init; } = 2;

    /// <summary>The device: <c>cpu</c>, <c>cuda</c>, <c>opencl</c>, <c>auto</c> or <c>reference</c>.</summary>
    public string Device { get; init; } = "cpu";

    /// <summary>Threads of the CPU device; 0 means one per core.</summary>
    [Range(0, 1024)]
    public int Threads { get; init; }

    /// <summary>The default of <see cref="FinalRate"/>.</summary>
    private const double DefaultFinalRate = 0.1;

    /// <summary>The default of <see cref="SpikeWindow"/>.</summary>
    private const int DefaultSpikeWindow = 100;

    /// <summary>The default of <see cref="Validation"/>.</summary>
    internal const double DefaultValidation = 0.1;

    /// <summary>The largest number of tokens in a batch. Their ids are kept in memory, and each token needs far more on the device.</summary>
    private const int MaxTokens = 1 << 24;

    /// <summary>The settings as JSON.</summary>
    public string ToJson() => ToNode().ToJsonString(SettingsWriter.Indented);

    /// <summary>The settings as JSON.</summary>
    internal JsonObject ToNode() => SettingsWriter.Write(this);

    /// <summary>These settings with what is recommended for the optimizer where nothing is set: learning rate, options, warm-up and schedule.</summary>
    /// <exception cref="SettingException">A setting is out of range.</exception>
    /// <exception cref="UserException">There is no optimizer of that name.</exception>
    public TrainingSettings Filled()
    {
        Ranges.Check(this);
        OptimizerEntry entry = Registry.Find(Optimizer.Name);
        return this with
        {
            Optimizer = Optimizer.Filled(),
            Schedule = Schedule ?? (entry.KeepsRate ? ScheduleKind.Constant : ScheduleKind.Cosine),
            Warmup = Warmup ?? Math.Min(entry.Warmup, Steps / 10),
        };
    }

    /// <summary>
    /// Reads settings; those that the file omits have the values of the preset that it names. A run's record in the file is not read, but a file with one
    /// is read as by <see cref="LoadRun"/>, so that the settings of earlier runs give the same losses again.
    /// </summary>
    /// <exception cref="UserException">The file is missing, or has an unknown setting or a value outside its range.</exception>
    public static TrainingSettings Load(string path) => Read(JsonFields.Open(path));

    /// <summary>Reads the settings of a run. Runs of earlier versions omit <see cref="Sampling"/>; theirs is random.</summary>
    /// <exception cref="UserException">As for <see cref="Load"/>.</exception>
    public static TrainingSettings LoadRun(string path) => Read(JsonFields.Open(path), isRun: true);

    /// <summary>Reads settings from text, as <see cref="Load"/> does from a file.</summary>
    /// <exception cref="UserException">As for <see cref="Load"/>.</exception>
    public static TrainingSettings Parse(string json) => Read(JsonFields.Parse(Encoding.UTF8.GetBytes(json), "settings"));

    internal static TrainingSettings Read(JsonFields fields, bool isRun = false)
    {
        TrainingSettings start = Named(fields, "preset", name => Presets.Find(name ?? "default"));
        if (isRun || fields.Has(RunRecord.Field))
            start = start with { Sampling = Sampling.Random };
        if (fields.Object("optimizer") is { } optimizer)
            start = Named(optimizer, "name", name => name is null ? start : start with { Optimizer = start.Optimizer.For(name) });
        var settings = (TrainingSettings)SettingsReader.Read(fields, start, RunRecord.Field);
        if (isRun || fields.Has(RunRecord.Field))
            settings = settings with { Optimizer = settings.Optimizer.WithFormerDefaults() };
        try
        {
            Ranges.Check(settings);
        }
        catch (SettingException e)
        {
            throw new UserException(e.MessageWith(path => $"{fields.Source}: {Values.PathOf(path)}"), e);
        }

        return settings;
    }

    /// <summary>Finds what a field names, such as a preset.</summary>
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

    /// <summary>Throws on invalid settings. Settings that the optimizer does not have are no error here: see <see cref="OptimizerSettings.Check"/>.</summary>
    /// <exception cref="SettingException">A setting is out of range.</exception>
    /// <exception cref="UserException">Settings contradict each other.</exception>
    public void Check()
    {
        Ranges.Check(this);
        if (From is not null && (Model is not null || Layers is not null || Heads is not null || HiddenSize is not null))
            throw UserException.NamingSettings($"{nameof(From):setting} {From}: that model has its own sizes; leave out {nameof(Model):setting}, {nameof(Layers):setting}, {nameof(Heads):setting} and {nameof(HiddenSize):setting}");
        if ((long)Batch * Block > MaxTokens)
            throw UserException.NamingSettings($"{nameof(Batch):setting} {Batch} with {nameof(Block):setting} {Block}: a batch of {(long)Batch * Block:N0} tokens is above the limit of {MaxTokens:N0}; use a smaller {nameof(Batch):setting} (with {nameof(Accumulate):setting}) or {nameof(Block):setting}");
        if (Pad && !Documents)
            throw UserException.NamingSettings($"{nameof(Pad):setting} gives each document windows of its own, so it needs their ends; add {nameof(Documents):setting}");
        if (Schedule == ScheduleKind.Constant && FinalRate != DefaultFinalRate)
            throw UserException.NamingSettings($"{nameof(FinalRate):setting} {FinalRate}: a constant schedule has no final rate; leave it at {DefaultFinalRate}, or choose another {nameof(Schedule):setting}");
        if (Layerwise && Clip > 0)
            throw UserException.NamingSettings($"{nameof(Layerwise):setting} updates parameters before the norm of all gradients is known, so it cannot clip by it ({nameof(Clip):setting} {Clip}); add {nameof(Clip):setting} 0");
        if (Layerwise && Accumulate > 1)
            throw UserException.NamingSettings($"{nameof(Layerwise):setting} keeps no gradients from one batch to the next, so it cannot add up those of {Accumulate} batches; leave out {nameof(Accumulate):setting} and raise {nameof(Batch):setting}");
        if (!System.Numerics.BitOperations.IsPow2(Shards))
            throw UserException.NamingSettings($"{nameof(Shards):setting} {Shards}: gradients are summed along a binary tree, so it must be a power of two; use {1 << System.Numerics.BitOperations.Log2((uint)Shards)} or {2 << System.Numerics.BitOperations.Log2((uint)Shards)}");
        CheckSpikes();
    }

    private void CheckSpikes()
    {
        if (SpikeThreshold == 0)
        {
            if (OnSpike != SpikeAction.Skip)
                throw WithoutThreshold($"{nameof(OnSpike):setting} {Values.NameOf($"{OnSpike}")}");
            if (SpikeMeasure != SpikeMeasure.Loss)
                throw WithoutThreshold($"{nameof(SpikeMeasure):setting} {Values.NameOf($"{SpikeMeasure}")}");
            if (SpikeWindow != DefaultSpikeWindow)
                throw WithoutThreshold($"{nameof(SpikeWindow):setting} {SpikeWindow}");
        }

        if (!Layerwise || SpikeThreshold == 0)
            return;
        if (OnSpike == SpikeAction.Skip)
            throw UserException.NamingSettings($"{nameof(Layerwise):setting} has updated parameters before the gradient is complete, so a step cannot be skipped ({nameof(OnSpike):setting} skip); use {nameof(OnSpike):setting} stop, or leave out {nameof(Layerwise):setting}");
        if (SpikeMeasure != SpikeMeasure.Loss)
            throw UserException.NamingSettings($"{nameof(Layerwise):setting} has updated parameters before the norm of all gradients is known, so no step can be stopped by it ({nameof(SpikeMeasure):setting} {Values.NameOf($"{SpikeMeasure}")}); use {nameof(SpikeMeasure):setting} loss, or leave out {nameof(Layerwise):setting}");

        static UserException WithoutThreshold(FormattableString setting) =>
            UserException.NamingSettings($"{UserException.NamingSettings(setting)}: no spikes are found; add {nameof(SpikeThreshold):setting}, such as 6");
    }
}
