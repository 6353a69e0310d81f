using System.CommandLine;
using System.Reflection;
using ILGpuOptim.Compute;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Cli.Commands;

/// <summary>The flags of <c>train</c> and the settings that they make.</summary>
internal sealed class TrainOptions
{
    private readonly List<Option> all = [];
    private readonly List<Func<ParseResult, TrainingSettings, TrainingSettings>> changes = [];
    private readonly Dictionary<string, Option> flags = [];
    private readonly Option<string?> preset, config, output, resume;
    private readonly Option<string> tokenizer;
    private readonly Option<bool> allowDataChange;

    public TrainOptions()
    {
        preset = Add(new Option<string?>("--preset") { Description = "where settings start: " + string.Join("; ", Presets.Names.Select(item => $"{item.Name} ({item.Summary})")) });
        config = Add(new Option<string?>("--config") { Description = "a JSON file of settings, such as a run's settings.json" });
        output = Add(new Option<string?>("--out") { Description = "the run folder; by default runs/PRESET-TIME-PROCESS" });
        resume = Add(new Option<string?>("--resume") { Description = "go on with this run; flags change its settings, which it keeps" });
        allowDataChange = Add(new Option<bool>("--allow-data-change") { Description = "with --resume: go on although the data is not what the run began with" });
        Setting<string[]>("--data", "text files, a folder, or .bin token files; by default the embedded corpus", (s, v) => s with { Data = [.. v.Select(Path.GetFullPath)] });
        tokenizer = Setting<string>("--tokenizer", "char, byte, o200k, cl100k, or a tokenizer's file or folder", (s, v) => s with { Tokenizer = File.Exists(v) || Directory.Exists(v) ? Path.GetFullPath(v) : v });
        Value<double>("--validation", "Validation", "the part of the text that validates; 0 trains on all of it");
        Setting<string>("--model", "a model whose sizes are taken: a name such as qwen3-0.6b, a config.json, or a folder that holds one; the vocabulary is that of the data", WithModel);
        Setting<string>("--from", "a run or a folder in Hugging Face's layout whose weights training begins with", (s, v) => s with { From = Path.GetFullPath(TrainingRun.ModelFolder(v)), Model = null, Layers = null, Heads = null, HiddenSize = null, Dropout = null });
        Setting<string[]>("--freeze", "names of parameters that stay as they are, * for anything", (s, v) => s with { Freeze = v });
        Value<int>("--lora-rank", "Lora.Rank", "train adapters of this rank beside frozen weights");
        Value<double>("--lora-alpha", "Lora.Alpha", "adapters count alpha / rank");
        Setting<string[]>("--lora-targets", "which products get adapters: last parts of their names, or patterns with *", (s, v) => s with { Lora = (s.Lora ?? new()) with { Targets = v } });
        Value<int>("--layers", "Layers", "transformer layers");
        Value<int>("--heads", "Heads", "attention heads");
        Value<int>("--hidden-size", "HiddenSize", "hidden size: the elements of each token's vector");
        Value<int>("--block", "Block", "tokens of a sequence");
        Value<ParameterStorage>("--parameter-type", "ParameterType", "how parameters are stored: f32, bf16, or int8 (products in 8 bits, the rest in bf16), rounded stochastically");
        Value<double>("--dropout", "Dropout", "probability of dropping an element");
        Value<double>("--masked-part", "MaskedPart", "the part of the tokens that BERT or T5 has to predict");
        Value<double>("--mean-span", "MeanSpan", "the mean number of tokens of a span that T5 has to predict");
        Value<int>("--batch", "Batch", "sequences of a batch");
        Value<Data.Sampling>("--sampling", "Sampling", "how training windows are drawn: epochs (every window once an epoch, in random order) or random (independent random positions)");
        Value<bool>("--documents", "Documents", "keep documents apart: attention stays within a document, positions restart with each, and its first token is not predicted");
        Value<bool>("--pad", "Pad", "with --documents: give each document windows of its own, padded to the block, instead of several documents a window");
        Value<int>("--accumulate", "Accumulate", "batches of an update");
        Value<int>("--steps", "Steps", "updates");
        Setting<string>("--optimizer", string.Join("; ", Optim.Registry.Entries.Select(entry => $"{entry.Name} ({entry.Summary})")), (s, v) => s with { Optimizer = s.Optimizer.For(v) });
        Value<double>("--lr", "Optimizer.LearningRate", "the learning rate at its peak");
        Setting<string[]>("--lr-for", "PATTERN=FACTOR: multiplies the learning rate of some parameters", (s, v) => s with { Optimizer = s.Optimizer with { LearningRateFor = [.. v.Select(RateFactorOf)] } });
        Value<double>("--weight-decay", "Optimizer.WeightDecay", "of matrices; vectors have none");
        Value<double>("--beta1", "Optimizer.Beta1", "decay of the momentum");
        Value<double>("--beta2", "Optimizer.Beta2", "decay of the second moment");
        Value<double>("--beta3", "Optimizer.Beta3", "CAME's decay of the instability");
        Value<double>("--epsilon", "Optimizer.Epsilon", "keeps divisions finite");
        Value<double>("--momentum", "Optimizer.Momentum", "of sgd");
        Value<int>("--rank", "Optimizer.Rank", "of galore, fira and apollo");
        Value<int>("--projection-gap", "Optimizer.UpdateProjectionGap", "steps between projections");
        Value<double>("--scale", "Optimizer.Scale", "of galore, fira (alpha) and apollo");
        Value<Optim.ScaleType>("--scale-type", "Optimizer.ScaleType", "what shares a factor in apollo");
        Setting<string[]>("--optimizer-option", "NAME=VALUE: any setting that the optimizer has, such as limiter_ignores_zero=true; docs/optimizers.md lists them", (s, v) => s with { Optimizer = v.Aggregate(s.Optimizer, WithOption) });
        Value<Optim.StateStorage>("--state-type", "Optimizer.StateType", "how optimizer state is stored: f32, bf16 or fp8 (8-bit floats in blocks)");
        Setting<string[]>("--low-rank", "names of matrices trained at low rank, * for anything", (s, v) => s with { Optimizer = s.Optimizer with { LowRank = v } });
        Setting<string[]>("--no-decay", "names of parameters without weight decay", (s, v) => s with { Optimizer = s.Optimizer with { NoDecay = v } });
        Value<ScheduleKind>("--schedule", "Schedule", "how the learning rate changes");
        Value<int>("--warmup", "Warmup", "steps of warm-up");
        Value<double>("--final-rate", "FinalRate", "the learning rate at the end, as a part of its peak");
        Value<double>("--clip", "Clip", "the global gradient norm; 0 is off");
        Value<bool>("--layerwise", "Layerwise", "update each parameter within the backward pass and free its gradient; needs --clip 0");
        Value<bool>("--recompute", "Recompute", "compute activations again in the backward pass instead of keeping them");
        Value<ulong>("--seed", "Seed", "repeats the run");
        Value<int>("--eval-interval", "EvalInterval", "steps between validations");
        Value<int>("--eval-batches", "EvalBatches", "batches of a validation; 0 is off");
        Value<int>("--checkpoint-interval", "CheckpointInterval", "steps between checkpoints; 0 saves at the end alone");
        Value<int>("--keep", "Keep", "the newest checkpoints that are kept, beside the best");
        Setting<string>("--device", "cpu, cuda, opencl, auto or reference", (s, v) => s with { Device = v });
        Value<int>("--threads", "Threads", "threads of the cpu; 0 means one for each core");
        Json = Add(CommonOptions.Json());
    }

    public Option<bool> Json { get; }

    public IReadOnlyList<Option> All => all;

    /// <summary>The flags of single properties, by the property's path such as <c>Optimizer.Beta1</c>.</summary>
    public IReadOnlyDictionary<string, Option> ByPath => flags;

    /// <summary>The run that the flags ask for.</summary>
    public TrainingRun Open(ParseResult result, Func<TrainingSettings, Device> device)
    {
        if (result.GetValue(resume) is { } run)
        {
            if (result.GetValue(preset) is not null || result.GetValue(config) is not null || result.GetValue(output) is not null)
                throw new UserException("--resume takes the run's own settings; leave out --preset, --config and --out");
            return Named(result, () => TrainingRun.Resume(run, device, settings => Checked(settings, Changed(result, settings)), result.GetValue(allowDataChange)));
        }

        if (result.GetValue(allowDataChange))
            throw new UserException("--allow-data-change goes with --resume; a new run has no earlier data");
        TrainingSettings settings = Settings(result);
        string folder = result.GetValue(output) ?? Path.Combine("runs", $"{settings.Preset}-{DateTime.Now:yyyyMMdd-HHmmss}-{Environment.ProcessId}");
        return TrainingRun.Begin(folder, settings, device(settings));
    }

    /// <summary>The settings of a new run, or of the one to resume: those of the preset, the file or the run, and the flags over them.</summary>
    public TrainingSettings Settings(ParseResult result)
    {
        TrainingSettings settings = SharedSettings(result);
        Named<object?>(result, () =>
        {
            settings.Check();
            settings.Optimizer.Check();
            return null;
        });
        return settings;
    }

    /// <summary>As <see cref="Settings"/>, for several optimizers: the named one may lack settings that others have.</summary>
    public TrainingSettings SharedSettings(ParseResult result) => Fitted(result, Changed(result, Start(result)));

    /// <summary>A model that is named without its flag; null for commands that take none.</summary>
    public Argument<string?>? Model { get; init; }

    /// <summary>The settings that flags change.</summary>
    private TrainingSettings Start(ParseResult result)
    {
        TrainingSettings settings = result.GetValue(resume) is { } run ? TrainingSettings.LoadRun(Path.Combine(run, TrainingRun.SettingsFile))
            : result.GetValue(config) is { } file ? TrainingSettings.Load(file) : Presets.Find(result.GetValue(preset) ?? "default");
        return Model is { } argument && result.GetValue(argument) is { } path ? WithModel(settings, path) : settings;
    }

    /// <summary>The settings as they fit the model of <c>--from</c>.</summary>
    private TrainingSettings Fitted(ParseResult result, TrainingSettings settings)
    {
        if (settings.From is null)
            return settings;
        if (settings.Tokenizer == "char" && result.GetResult(tokenizer) is { Implicit: false } && Data.Tokenizers.Load(settings.From) is not Data.CharTokenizer)
            throw new UserException("--tokenizer char makes a tokenizer of the data, which does not fit the model of --from; leave it out to use the model's own");
        TrainingSettings fitted = TrainedModel.Fitted(settings);
        if (fitted.Block < settings.Block)
            Console.Error.WriteLine($"note: blocks of {settings.Block} tokens are cut to {fitted.Block}, the positions of the model of {settings.From}");
        return fitted;
    }

    /// <summary>Changed settings of a run, whose optimizer has what was changed about it.</summary>
    private static TrainingSettings Checked(TrainingSettings before, TrainingSettings changed)
    {
        if (changed.Optimizer != before.Optimizer)
            changed.Optimizer.Check();
        return changed;
    }

    /// <summary>Does something, and names settings that are out of range by the flags that were given for them.</summary>
    private T Named<T>(ParseResult result, Func<T> action)
    {
        try
        {
            return action();
        }
        catch (SettingException e) when (flags.TryGetValue(e.Path, out Option? option) && result.GetResult(option) is { Implicit: false })
        {
            throw e.Named(option.Name);
        }
        catch (SettingException e)
        {
            throw e.Named(string.Join('.', e.Path.Split('.').Select(Values.NameOf)));
        }
    }

    private static OptimizerSettings WithOption(OptimizerSettings settings, string assignment)
    {
        try
        {
            return settings.With(assignment);
        }
        catch (UserException e)
        {
            throw new UserException($"--optimizer-option {assignment}: {e.Message}", e);
        }
    }

    private TrainingSettings Changed(ParseResult result, TrainingSettings settings) => changes.Aggregate(settings, (changed, change) => change(result, changed));

    private static TrainingSettings WithModel(TrainingSettings settings, string path) =>
        settings with { Model = Models.ModelConfig.Find(path), Layers = null, Heads = null, HiddenSize = null, Dropout = null };

    private static RateFactor RateFactorOf(string text)
    {
        int sign = text.LastIndexOf('=');
        RangeAttribute range = typeof(RateFactor).GetProperty(nameof(RateFactor.Factor))!.GetCustomAttribute<RangeAttribute>()!;
        return sign > 0
            ? new RateFactor(text[..sign], (double)Values.Require($"--lr-for {text}: the factor", typeof(double), text[(sign + 1)..], range))
            : throw new UserException($"--lr-for {text}: it is PATTERN=FACTOR, such as *wte*=0.1");
    }

    private Option<T> Setting<T>(string name, string description, Func<TrainingSettings, T, TrainingSettings> apply)
    {
        Option<T> option = Add(new Option<T>(name) { Description = description, AllowMultipleArgumentsPerToken = typeof(T).IsArray });
        changes.Add((result, settings) => result.GetResult(option) is { Implicit: false } && result.GetValue(option) is { } value ? apply(settings, value) : settings);
        return option;
    }

    /// <summary>A flag for one property of the settings.</summary>
    /// <param name="name">The flag.</param>
    /// <param name="path">The property, such as <c>Optimizer.Beta1</c>.</param>
    /// <param name="description">For the help text, which tells the range too where all optimizers have the same.</param>
    private void Value<T>(string name, string path, string description) where T : struct
    {
        Option<T?> option = Add(Flag.Of<T?>(name, description, SettingPath.RangeOf(path)));
        flags[path] = option;
        changes.Add((result, settings) => result.GetResult(option) is { Implicit: false } && result.GetValue(option) is { } value ? SettingPath.With(settings, path, value) : settings);
    }

    private T Add<T>(T option) where T : Option
    {
        all.Add(option);
        return option;
    }
}
