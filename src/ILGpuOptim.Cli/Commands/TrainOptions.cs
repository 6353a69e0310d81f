using System.CommandLine;
using System.CommandLine.Parsing;
using System.Reflection;
using ILGpuOptim.Compute;
using ILGpuOptim.Distributed;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Cli.Commands;

/// <summary>The flags of <c>train</c> and their conversion to settings.</summary>
internal sealed class TrainOptions
{
    private const int ManyOptimizers = 4;

    private readonly List<Option> all = [];
    private readonly List<Func<ParseResult, TrainingSettings, TrainingSettings>> changes = [];
    private readonly List<(Option Flag, Func<ParseResult, IEnumerable<string>> Assignments)> ofOptimizer = [];
    private readonly Dictionary<string, Option> flags = [];
    private readonly Option<string?> preset, config, output, resume;
    private readonly Option<string> tokenizer;
    private readonly Option<bool> allowDataChange;
    private readonly int optionsAt;

    public TrainOptions()
    {
        flags["Preset"] = preset = Add(new Option<string?>("--preset") { Description = "default settings: " + string.Join("; ", Presets.Names.Select(item => $"{item.Name} ({item.Summary})")) });
        config = Add(new Option<string?>("--config") { Description = "JSON file of settings, such as the settings.json of a run" });
        output = Add(new Option<string?>("--out") { Description = "run folder; default: runs/PRESET-TIME-PROCESS" });
        resume = Add(new Option<string?>("--resume") { Description = "continue this run; last: the run below runs/ that trained last. Other flags change its settings, and the run keeps the changes", CustomParser = RunOf });
        allowDataChange = Add(new Option<bool>("--allow-data-change") { Description = "with --resume: continue even if the data differs from that at the start of the run" });
        Setting<string[]>("--data", "Data", "text files, folders, .bin token files, or .jsonl files of conversations or pairs of answers; default: the embedded corpus", (s, v) => s with { Data = [.. v.Select(Path.GetFullPath)] });
        tokenizer = Setting<string>("--tokenizer", "Tokenizer", "char, byte, o200k, cl100k, or a tokenizer file or folder", (s, v) => s with { Tokenizer = File.Exists(v) || Directory.Exists(v) ? Path.GetFullPath(v) : v });
        Setting<string>("--chat-template", "ChatTemplate", "template of conversations: chatml, or a file; default: that of --from, else chatml", (s, v) => s with { ChatTemplate = File.Exists(v) ? Path.GetFullPath(v) : v });
        Value<double>("--validation", "Validation", "fraction of the text used for validation; 0: train on all of it");
        Setting<string>("--model", "Model", "model configuration to train from scratch: a name such as qwen3-0.6b, a config.json, or a folder with one; the vocabulary is that of the data", WithModel);
        Setting<string>("--from", "From", "run, or folder in Hugging Face's layout, whose weights training starts from", (s, v) => s with { From = Path.GetFullPath(TrainingRun.ModelFolder(v)), Model = null, Layers = null, Heads = null, HiddenSize = null, Dropout = null });
        Setting<string[]>("--freeze", "Freeze", "names of parameters to freeze; * matches anything", (s, v) => s with { Freeze = v });
        Value<int>("--lora-rank", "Lora.Rank", "train LoRA adapters of this rank and freeze the weights");
        Value<double>("--lora-alpha", "Lora.Alpha", "LoRA scale: adapters are multiplied by alpha / rank");
        Value<bool>("--rslora", "Lora.Rslora", "rank-stabilized LoRA: adapters are multiplied by alpha / √rank");
        Value<bool>("--dora", "Lora.Dora", "weight-decomposed LoRA (DoRA): magnitudes of the weights are trained beside the adapters");
        Setting<string[]>("--lora-targets", "Lora.Targets", "linear layers that get adapters: last parts of their names, or patterns with *", (s, v) => s with { Lora = (s.Lora ?? new()) with { Targets = v } });
        Value<double>("--dpo-beta", "Dpo.Beta", "pairs of answers: the factor β of rewards; the larger, the closer the model stays to the one it began with");
        Value<Ops.PreferenceLossKind>("--dpo-loss", "Dpo.Loss", "pairs of answers: sigmoid (DPO) or ipo (IPO)");
        Value<double>("--dpo-label-smoothing", "Dpo.LabelSmoothing", "pairs of answers: the probability that a preference is the wrong way round (conservative DPO)");
        Value<bool>("--dpo-length-normalized", "Dpo.LengthNormalized", "pairs of answers: divide log-probabilities by the number of tokens");
        Value<double>("--dpo-sft-weight", "Dpo.SftWeight", "pairs of answers: the weight of the chosen answers' loss per token, which is added; 0: none");
        Value<int>("--layers", "Layers", "number of transformer layers");
        Value<int>("--heads", "Heads", "number of attention heads");
        Value<int>("--hidden-size", "HiddenSize", "hidden size");
        Value<int>("--block", "Block", "tokens per sequence");
        Value<ParameterStorage>("--parameter-type", "ParameterType", "storage type of parameters: f32, bf16, or int8 (linear layers in 8 bits, the rest in bf16), with stochastic rounding");
        Value<Precision>("--precision", "Precision", "f32; tf32 (products on tensor cores where there are some); or bf16 (so too, and activations stored in bf16). Sums and gradients of parameters are f32");
        Value<double>("--dropout", "Dropout", "dropout probability");
        Value<double>("--masked-fraction", "MaskedFraction", "fraction of tokens that BERT or T5 has to predict");
        Value<double>("--mean-span", "MeanSpan", "mean number of tokens of a span that T5 has to predict");
        Value<int>("--batch", "Batch", "sequences per batch");
        Value<Data.Sampling>("--sampling", "Sampling", "sampling of training windows: epochs (every window once per epoch, in random order) or random (independent random positions)");
        Value<bool>("--documents", "Documents", "keep documents apart: attention stays within a document, positions restart with each, and first tokens are not predicted");
        Value<bool>("--pad", "Pad", "with --documents: one document per window, padded to the block, instead of several");
        Value<int>("--accumulate", "Accumulate", "batches per update, whose gradients are summed");
        Value<int>("--shards", "Shards", "virtual shards of a step, a power of two, each with --accumulate batches; the ranks of --data-parallel share them, and their number does not change the results");
        Value<GradientExchange>("--gradient-exchange", "GradientExchange", "f32 or bf16: with bf16, gradients of --shards are rounded to bf16 before they are added in f32, and ranks send half as many bytes");
        Value<int>("--steps", "Steps", "number of updates");
        Option<string> optimizer = Setting<string>("--optimizer", "Optimizer.Name", $"optimizer; +PART and :NAME=VALUE may follow, as in adamw+cautious:beta1=0.8. {string.Join("; ", Optim.Registry.Entries.Select(entry => $"{entry.Name} ({entry.Summary}; learning rate {entry.Defaults.LearningRate})"))}", (s, v) => s with { Optimizer = s.Optimizer.For(v) });
        ofOptimizer.Add((optimizer, result => OptimizerLabel.Parse(result.GetValue(optimizer)!).Assignments));
        Value<double>("--lr", "Optimizer.LearningRate", "peak learning rate; default: that recommended for the optimizer, see --optimizer");
        Setting<string[]>("--lr-for", "Optimizer.LearningRateFor", "PATTERN=FACTOR: multiplies the learning rate of matching parameters", (s, v) => s with { Optimizer = s.Optimizer with { LearningRateFor = [.. v.Select(RateFactorOf)] } });
        Value<double>("--weight-decay", "Optimizer.WeightDecay", "weight decay of matrices; vectors have none");
        Option<string[]> assignments = Setting<string[]>("--optimizer-option", "Optimizer", "NAME=VALUE: an option of the optimizer, such as limiter_ignores_zero=true. It can also be given as a flag: --limiter-ignores-zero true. ilgpuoptim optimizers NAME lists them", (s, v) => s with { Optimizer = v.Aggregate(s.Optimizer, WithOption) });
        ofOptimizer.Add((assignments, result => result.GetValue(assignments)!));
        optionsAt = all.Count;
        Value<Optim.StateStorage>("--state-type", "Optimizer.StateType", "storage type of optimizer state: f32, bf16 or fp8 (8-bit floats in blocks)");
        Setting<string[]>("--low-rank", "Optimizer.LowRank", "names of matrices trained at low rank; * matches anything", (s, v) => s with { Optimizer = s.Optimizer with { LowRank = v } });
        Setting<string[]>("--no-decay", "Optimizer.NoDecay", "names of parameters without weight decay; * matches anything", (s, v) => s with { Optimizer = s.Optimizer with { NoDecay = v } });
        Value<ScheduleKind>("--schedule", "Schedule", "learning-rate schedule: constant, linear, cosine or wsd; default: cosine, or constant for an optimizer that averages weights instead");
        Value<int>("--warmup", "Warmup", "warm-up steps of the learning rate; default: those recommended for the optimizer, at most a tenth of the run");
        Value<double>("--final-rate", "FinalRate", "learning rate at the end, as a fraction of its peak");
        Value<double>("--clip", "Clip", "gradients are clipped to this global norm; 0: off");
        Value<double>("--spike-threshold", "SpikeThreshold", "skip or stop at losses more than this number of standard deviations above their running mean, and at losses and gradient norms that are not finite; 0: off");
        Value<SpikeAction>("--on-spike", "OnSpike", "with --spike-threshold: skip the update, or save and stop");
        Value<SpikeMeasure>("--spike-of", "SpikeMeasure", "what --spike-threshold is compared with: loss, gradient_norm or either");
        Value<int>("--spike-window", "SpikeWindow", "steps of the running mean and variance of --spike-threshold");
        Value<double>("--ema", "Ema", "decay of an exponential moving average of the weights, such as 0.999, which validations, samples and other commands then use; 0: none");
        Value<bool>("--layerwise", "Layerwise", "update each parameter within the backward pass and free its gradient; requires --clip 0");
        Value<bool>("--recompute", "Recompute", "recompute activations in the backward pass instead of keeping them");
        Value<ulong>("--seed", "Seed", "seed of initialisation, batches and dropout");
        Value<int>("--eval-interval", "EvalInterval", "steps between validations");
        Value<int>("--eval-batches", "EvalBatches", "batches per validation; 0: off");
        Value<int>("--sample-interval", "SampleInterval", "steps between samples of text during training; 0: none");
        Value<int>("--layer-interval", "LayerInterval", "steps between records of each parameter's gradient norm and update-to-weight ratio; 0: none");
        Value<bool>("--tensorboard", "TensorBoard", "write events for TensorBoard to the folder tensorboard of the run");
        Value<int>("--checkpoint-interval", "CheckpointInterval", "steps between checkpoints; 0: only at the end");
        Value<int>("--keep", "Keep", "number of recent checkpoints to keep, in addition to the best");
        Setting<string>("--device", "Device", CommonOptions.DeviceHelp, (s, v) => s with { Device = v });
        Value<int>("--threads", "Threads", "CPU threads; 0: one per core");
        Json = Add(CommonOptions.Json());
        AddOptimizerOptions();
        ofOptimizer.AddRange(((string[])["Optimizer.WeightDecay", "Optimizer.StateType"]).Select(path => (flags[path], Assigned(flags[path].Name))));
    }

    public Option<bool> Json { get; }

    public IReadOnlyList<Option> All => all;

    /// <summary>The flags of settings, by the property's path such as <c>Optimizer.Beta1</c>.</summary>
    public IReadOnlyDictionary<string, Option> ByPath => flags;

    /// <summary>Begins or resumes the run.</summary>
    /// <param name="result">The flags.</param>
    /// <param name="device">Opens the device of the settings.</param>
    /// <param name="communicator">The ranks that train together; null: this process alone.</param>
    public TrainingRun Open(ParseResult result, Func<TrainingSettings, Device> device, Communicator? communicator = null)
    {
        if (result.GetValue(resume) is { } run)
        {
            if (result.GetValue(preset) is not null || result.GetValue(config) is not null || result.GetValue(output) is not null)
                throw new UserException("--resume uses the settings of the run; leave out --preset, --config and --out");
            return TrainingRun.Resume(communicator?.Broadcast(run) ?? run, device, communicator, settings => Checked(settings, Changed(result, settings)), result.GetValue(allowDataChange));
        }

        if (result.GetValue(allowDataChange))
            throw new UserException("--allow-data-change requires --resume; a new run has no earlier data");
        TrainingSettings settings = Settings(result);
        settings = WithShards(settings, result, communicator?.Size ?? 1);
        if (settings.EvalBatches == 0 && result.GetResult(flags["EvalInterval"]) is { Implicit: false })
            Console.Error.WriteLine("note: --eval-interval has no effect, since --eval-batches 0 turns validation off");
        string folder = result.GetValue(output) ?? Path.Combine("runs", $"{settings.Preset}-{DateTime.Now:yyyyMMdd-HHmmss}-{Environment.ProcessId}");
        return TrainingRun.Begin(communicator?.Broadcast(folder) ?? folder, settings, device(settings), communicator);
    }

    /// <summary>As many shards as ranks, rounded up to a power of two, unless the flag says how many.</summary>
    public TrainingSettings WithShards(TrainingSettings settings, ParseResult result, int ranks) =>
        result.GetResult(flags["Shards"]) is { Implicit: false } || settings.Shards >= ranks ? settings
            : settings with { Shards = (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)ranks) };

    /// <summary>The settings of a new run, or of the one to resume: those of the preset, the file or the run, changed by the flags.</summary>
    public TrainingSettings Settings(ParseResult result)
    {
        TrainingSettings settings = SharedSettings(result);
        settings.Check();
        settings.Optimizer.Check();
        return settings;
    }

    /// <summary>The settings that several optimizers share: an optimizer may lack settings that others have.</summary>
    public TrainingSettings SharedSettings(ParseResult result) => Fitted(result, Changed(result, Start(result)));

    /// <summary>The optimizer settings of the flags alone, without those of a preset or a file.</summary>
    public OptimizerSettings OptimizerFlags(ParseResult result) => WithFlags(result, new TrainingSettings()).Optimizer;

    /// <summary>An argument that names the model instead of a flag; null for commands without one.</summary>
    public Argument<string?>? Model { get; init; }

    /// <summary>The settings before the flags change them.</summary>
    private TrainingSettings Start(ParseResult result)
    {
        TrainingSettings settings = result.GetValue(resume) is { } run ? TrainingSettings.LoadRun(Path.Combine(run, TrainingRun.SettingsFile))
            : result.GetValue(config) is { } file ? TrainingSettings.Load(file) : Presets.Find(result.GetValue(preset) ?? "default");
        return Model is { } argument && result.GetValue(argument) is { } path ? WithModel(settings, path) : settings;
    }

    /// <summary>The settings, fitted to the model of <c>--from</c>.</summary>
    private TrainingSettings Fitted(ParseResult result, TrainingSettings settings)
    {
        if (settings.From is null)
            return settings;
        if (settings.Tokenizer == "char" && result.GetResult(tokenizer) is { Implicit: false } && Data.Tokenizers.Load(settings.From) is not Data.CharTokenizer)
            throw new UserException("--tokenizer char makes a tokenizer from the data, which does not fit the model of --from; leave it out to use the model's own");
        TrainingSettings fitted = TrainedModel.Fitted(settings);
        if (fitted.Block < settings.Block)
            Console.Error.WriteLine($"note: blocks of {settings.Block} tokens are cut to {fitted.Block}, the number of positions of the model of {settings.From}");
        return fitted;
    }

    /// <summary>The folder of a run; <c>last</c> is the one below <c>runs</c> whose metrics were written last. A folder of that name is given as <c>./last</c>.</summary>
    private static string? RunOf(ArgumentResult result)
    {
        if (result.Tokens is not [{ Value: "last" }])
            return result.Tokens.Count == 0 ? null : result.Tokens[0].Value;
        string? last = Directory.Exists("runs")
            ? Directory.EnumerateDirectories("runs").Where(folder => File.Exists(Path.Combine(folder, TrainingRun.SettingsFile))).MaxBy(LastWritten)
            : null;
        if (last is null)
            result.AddError($"--resume last: there is no run below {Path.GetFullPath("runs")}; name the run's folder");
        return last;

        // A run without metrics has made no step.
        static DateTime LastWritten(string folder) => new[] { TrainingRun.MetricsFile, TrainingRun.SettingsFile }.Max(file => File.GetLastWriteTimeUtc(Path.Combine(folder, file)));
    }

    /// <summary>Checks changed optimizer settings of a run.</summary>
    private static TrainingSettings Checked(TrainingSettings before, TrainingSettings changed)
    {
        if (changed.Optimizer != before.Optimizer)
            changed.Optimizer.Check();
        return changed;
    }

    private static OptimizerSettings WithOption(OptimizerSettings settings, string assignment)
    {
        try
        {
            return settings.With(assignment);
        }
        catch (UserException e)
        {
            throw UserException.NamingSettings($"--optimizer-option {assignment}: {e}", e);
        }
    }

    private TrainingSettings Changed(ParseResult result, TrainingSettings settings)
    {
        CheckAdapters(result, settings);
        return WithFlags(result, settings);
    }

    private TrainingSettings WithFlags(ParseResult result, TrainingSettings settings)
    {
        CheckRepeated(result);
        return changes.Aggregate(settings, (changed, change) => change(result, changed));
    }

    /// <summary>Refuses a setting of the optimizer that is given twice.</summary>
    private void CheckRepeated(ParseResult result)
    {
        var given = new Dictionary<string, string>();
        foreach ((Option flag, Func<ParseResult, IEnumerable<string>> assignments) in ofOptimizer.Where(item => result.GetResult(item.Flag) is { Implicit: false }))
        {
            foreach (string name in assignments(result).Select(OptimizerSettings.SettingOf).OfType<string>())
            {
                if (!given.TryAdd(name, flag.Name))
                    throw new UserException($"{name} is given twice, by {(given[name] == flag.Name ? flag.Name : $"{given[name]} and {flag.Name}")}; give it once");
            }
        }
    }

    private static Func<ParseResult, IEnumerable<string>> Assigned(string flag) => _ => [flag.TrimStart('-')];

    /// <summary>Refuses settings of adapters where nothing turns adapters on.</summary>
    private void CheckAdapters(ParseResult result, TrainingSettings settings)
    {
        if (settings.Lora is null && result.GetResult(flags["Lora.Rank"]) is not { Implicit: false } &&
            flags.FirstOrDefault(flag => flag.Key.StartsWith("Lora.", StringComparison.Ordinal) && result.GetResult(flag.Value) is { Implicit: false }) is { Value: { } given })
        {
            throw new UserException($"{given.Name} is a setting of adapters, but there are none; add {flags["Lora.Rank"].Name}");
        }
    }

    private static TrainingSettings WithModel(TrainingSettings settings, string path) =>
        settings with { Model = Models.ModelConfig.Find(path), Layers = null, Heads = null, HiddenSize = null, Dropout = null };

    private static RateFactor RateFactorOf(string text)
    {
        int sign = text.LastIndexOf('=');
        RangeAttribute range = typeof(RateFactor).GetProperty(nameof(RateFactor.Factor))!.GetCustomAttribute<RangeAttribute>()!;
        return sign > 0
            ? new RateFactor(text[..sign], (double)Values.Require($"--lr-for {text}: the factor", typeof(double), text[(sign + 1)..], range))
            : throw new UserException($"--lr-for {text}: it must be PATTERN=FACTOR, such as *wte*=0.1");
    }

    /// <summary>
    /// A flag for each option of each registered optimizer, but for names that are flags of train. Help lists those of at least <see cref="ManyOptimizers"/> optimizers.
    /// </summary>
    private void AddOptimizerOptions()
    {
        var declared = Optim.Registry.DeclaredOptions.GroupBy(item => item.Option.Name).ToArray();
        int at = optionsAt;
        foreach (var owners in declared)
        {
            OptimizerOption first = owners.First().Option;
            string name = "--" + first.Name.Replace('_', '-');
            if (all.Any(flag => flag.Name == name))
                continue;
            string[] limits = [.. owners.Select(owner => owner.Option.Range?.Limits() ?? "").Distinct()];
            OptimizerOption[] options = [.. owners.Select(owner => owner.Option)];
            var option = new Option<string?>(name)
            {
                CustomParser = result => OptionText(result, name, options),
                Description = $"{first.Description}{(limits is [{ Length: > 0 } limit] ? $" ({(limit.StartsWith("of ", StringComparison.Ordinal) ? limit[3..] : limit)})" : "")}: {string.Join(", ", owners.Select(owner => owner.Owner))}",
                HelpName = first.IsWord ? first.ValidValues.Replace(" or ", "|", StringComparison.Ordinal).Replace(", ", "|", StringComparison.Ordinal) : first.Type == typeof(bool) ? "true|false" : "number",
                Hidden = owners.Count() < ManyOptimizers,
                Arity = first.Type == typeof(bool) ? ArgumentArity.ZeroOrOne : ArgumentArity.ExactlyOne,
            };
            all.Insert(at++, option);
            flags[first.Path] = option;
            ofOptimizer.Add((option, Assigned(name)));
            changes.Add((result, settings) => result.GetResult(option) is { Implicit: false } && result.GetValue(option) is { } value
                ? settings with { Optimizer = settings.Optimizer.With(first.Name, value) }
                : settings);
        }
    }

    /// <summary>The value of a flag for an option, if it is valid for some optimizer. A flag alone is true.</summary>
    private static string OptionText(ArgumentResult result, string flag, OptimizerOption[] options)
    {
        string text = result.Tokens.Count == 0 ? "true" : result.Tokens[0].Value;
        if (options.FirstOrDefault(option => option.Accepts(text)) is null)
            result.AddError($"{flag} {text}: {options[0].RuleFor(text)}");
        return text;
    }

    /// <summary>A flag that changes settings as given.</summary>
    private Option<T> Setting<T>(string name, string path, string description, Func<TrainingSettings, T, TrainingSettings> apply)
    {
        Option<T> option = Add(new Option<T>(name) { Description = description, AllowMultipleArgumentsPerToken = typeof(T).IsArray });
        flags[path] = option;
        changes.Add((result, settings) => result.GetResult(option) is { Implicit: false } && result.GetValue(option) is { } value ? apply(settings, value) : settings);
        return option;
    }

    /// <summary>A flag for one property of the settings.</summary>
    /// <param name="name">The flag.</param>
    /// <param name="path">The property, such as <c>Optimizer.Beta1</c>.</param>
    /// <param name="description">The help text, to which the range is added if all optimizers have the same.</param>
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
