using System.CommandLine;
using System.Globalization;
using ILGpuOptim.Compute;
using ILGpuOptim.Training;

namespace ILGpuOptim.Cli.Commands;

/// <summary>The flags of <c>train</c> and the settings that they make.</summary>
internal sealed class TrainOptions
{
    private readonly List<Option> all = [];
    private readonly List<Func<ParseResult, TrainingSettings, TrainingSettings>> changes = [];
    private readonly Option<string?> preset, config, output, resume;
    private readonly Option<string> tokenizer;

    public TrainOptions()
    {
        preset = Add(new Option<string?>("--preset") { Description = "where settings start: " + string.Join("; ", Presets.Names.Select(item => $"{item.Name} ({item.Summary})")) });
        config = Add(new Option<string?>("--config") { Description = "a JSON file of settings, such as a run's settings.json" });
        output = Add(new Option<string?>("--out") { Description = "the run folder; by default runs/PRESET-TIME-PROCESS" });
        resume = Add(new Option<string?>("--resume") { Description = "go on with this run" });
        Setting<string[]>("--data", "text files, a folder, or .bin token files; by default the embedded corpus", (s, v) => s with { Data = [.. v.Select(Path.GetFullPath)] });
        tokenizer = Setting<string>("--tokenizer", "char, byte, o200k, cl100k, or a tokenizer's file or folder", (s, v) => s with { Tokenizer = File.Exists(v) || Directory.Exists(v) ? Path.GetFullPath(v) : v });
        Setting<double?>("--validation", "the part of the text that validates; 0 trains on all of it", (s, v) => s with { Validation = v!.Value });
        Setting<string>("--model", "a config.json of GPT-2, LLaMA or BERT, or a folder that holds one, whose sizes are taken; the vocabulary is that of the data", WithModel);
        Setting<string>("--from", "a run or a folder in Hugging Face's layout whose weights training begins with", (s, v) => s with { From = Path.GetFullPath(TrainingRun.ModelFolder(v)), Model = null, Layers = null, Heads = null, Channels = null, Dropout = null });
        Setting<string[]>("--freeze", "names of parameters that stay as they are, * for anything", (s, v) => s with { Freeze = v });
        Setting<int?>("--lora-rank", "train adapters of this rank beside frozen weights", (s, v) => s with { Lora = (s.Lora ?? new()) with { Rank = v!.Value } });
        Setting<double?>("--lora-alpha", "adapters count alpha / rank", (s, v) => s with { Lora = (s.Lora ?? new()) with { Alpha = v!.Value } });
        Setting<string[]>("--lora-targets", "which products get adapters: last parts of their names, or patterns with *", (s, v) => s with { Lora = (s.Lora ?? new()) with { Targets = v } });
        Setting<int?>("--layers", "transformer layers", (s, v) => s with { Layers = v });
        Setting<int?>("--heads", "attention heads", (s, v) => s with { Heads = v });
        Setting<int?>("--channels", "numbers for each token", (s, v) => s with { Channels = v });
        Setting<int?>("--block", "tokens of a sequence", (s, v) => s with { Block = v!.Value });
        Setting<ParameterStorage?>("--parameter-type", "how parameters are stored: f32, bf16, or int8 (products in 8 bits, the rest in bf16), rounded stochastically", (s, v) => s with { ParameterType = v!.Value });
        Setting<double?>("--dropout", "probability of dropping an element", (s, v) => s with { Dropout = v });
        Setting<double?>("--masked-part", "the part of the tokens that BERT has to predict", (s, v) => s with { MaskedPart = v!.Value });
        Setting<int?>("--batch", "sequences of a batch", (s, v) => s with { Batch = v!.Value });
        Setting<int?>("--accumulate", "batches of an update", (s, v) => s with { Accumulate = v!.Value });
        Setting<int?>("--steps", "updates", (s, v) => s with { Steps = v!.Value });
        Setting<string>("--optimizer", string.Join("; ", Optim.Registry.Entries.Select(entry => $"{entry.Name} ({entry.Summary})")), (s, v) => s with { Optimizer = s.Optimizer.For(v) });
        Setting<double?>("--lr", "the learning rate at its peak", (s, v) => s with { Optimizer = s.Optimizer with { LearningRate = v!.Value } });
        Setting<string[]>("--lr-for", "PATTERN=FACTOR: multiplies the learning rate of some parameters", (s, v) => s with { Optimizer = s.Optimizer with { LearningRateFor = [.. v.Select(RateFactorOf)] } });
        Setting<double?>("--weight-decay", "of matrices; vectors have none", (s, v) => s with { Optimizer = s.Optimizer with { WeightDecay = v!.Value } });
        Setting<double?>("--beta1", "decay of the momentum", (s, v) => s with { Optimizer = s.Optimizer with { Beta1 = v } });
        Setting<double?>("--beta2", "decay of the second moment", (s, v) => s with { Optimizer = s.Optimizer with { Beta2 = v } });
        Setting<double?>("--beta3", "CAME's decay of the instability", (s, v) => s with { Optimizer = s.Optimizer with { Beta3 = v } });
        Setting<double?>("--epsilon", "keeps divisions finite", (s, v) => s with { Optimizer = s.Optimizer with { Epsilon = v } });
        Setting<double?>("--momentum", "of sgd", (s, v) => s with { Optimizer = s.Optimizer with { Momentum = v } });
        Setting<int?>("--rank", "of galore, fira and apollo", (s, v) => s with { Optimizer = s.Optimizer with { Rank = v } });
        Setting<int?>("--projection-gap", "steps between projections", (s, v) => s with { Optimizer = s.Optimizer with { UpdateProjectionGap = v } });
        Setting<double?>("--scale", "of galore, fira (alpha) and apollo", (s, v) => s with { Optimizer = s.Optimizer with { Scale = v } });
        Setting<Optim.ScaleType?>("--scale-type", "what shares a factor in apollo", (s, v) => s with { Optimizer = s.Optimizer with { ScaleType = v } });
        Setting<string[]>("--optimizer-option", "NAME=VALUE: any setting that the optimizer has, such as limiter_ignores_zero=true; docs/optimizers.md lists them", (s, v) => s with { Optimizer = v.Aggregate(s.Optimizer, WithOption) });
        Setting<Optim.StateStorage?>("--state-type", "how optimizer state is stored: f32, bf16 or int8 (8-bit floats in blocks)", (s, v) => s with { Optimizer = s.Optimizer with { StateType = v!.Value } });
        Setting<string[]>("--low-rank", "names of matrices trained at low rank, * for anything", (s, v) => s with { Optimizer = s.Optimizer with { LowRank = v } });
        Setting<string[]>("--no-decay", "names of parameters without weight decay", (s, v) => s with { Optimizer = s.Optimizer with { NoDecay = v } });
        Setting<ScheduleKind?>("--schedule", "how the learning rate changes", (s, v) => s with { Schedule = v!.Value });
        Setting<int?>("--warmup", "steps of warm-up", (s, v) => s with { Warmup = v!.Value });
        Setting<double?>("--final-rate", "the learning rate at the end, as a part of its peak", (s, v) => s with { FinalRate = v!.Value });
        Setting<double?>("--clip", "the global gradient norm; 0 is off", (s, v) => s with { Clip = v!.Value });
        Setting<bool?>("--layerwise", "update each parameter within the backward pass and free its gradient; needs --clip 0", (s, v) => s with { Layerwise = v!.Value });
        Setting<ulong?>("--seed", "repeats the run", (s, v) => s with { Seed = v!.Value });
        Setting<int?>("--eval-interval", "steps between validations", (s, v) => s with { EvalInterval = v!.Value });
        Setting<int?>("--eval-batches", "batches of a validation; 0 is off", (s, v) => s with { EvalBatches = v!.Value });
        Setting<int?>("--checkpoint-interval", "steps between checkpoints; 0 saves at the end alone", (s, v) => s with { CheckpointInterval = v!.Value });
        Setting<int?>("--keep", "the newest checkpoints that are kept, beside the best", (s, v) => s with { Keep = v!.Value });
        Setting<string>("--device", "cpu, cuda, opencl, auto or reference", (s, v) => s with { Device = v });
        Setting<int?>("--threads", "threads of the cpu; 0 means one for each core", (s, v) => s with { Threads = v!.Value });
        Json = Add(CommonOptions.Json());
    }

    public Option<bool> Json { get; }

    public IReadOnlyList<Option> All => all;

    /// <summary>The run that the flags ask for.</summary>
    public TrainingRun Open(ParseResult result, Func<TrainingSettings, Device> device)
    {
        if (result.GetValue(resume) is { } run)
        {
            if (result.GetValue(preset) is not null || result.GetValue(config) is not null || result.GetValue(output) is not null)
                throw new UserException("--resume takes the run's own settings; leave out --preset, --config and --out");
            return TrainingRun.Resume(run, device, settings => Changed(result, settings) is var changed && changed.Optimizer == settings.Optimizer ? changed : Checked(changed));
        }

        TrainingSettings settings = Settings(result);
        string folder = result.GetValue(output) ?? Path.Combine("runs", $"{settings.Preset}-{DateTime.Now:yyyyMMdd-HHmmss}-{Environment.ProcessId}");
        return TrainingRun.Begin(folder, settings, device(settings));
    }

    /// <summary>The settings of a new run: those of the preset or the file, and the flags over them.</summary>
    public TrainingSettings Settings(ParseResult result) => Checked(SharedSettings(result));

    /// <summary>As <see cref="Settings"/>, for several optimizers: the named one may lack settings that others have.</summary>
    public TrainingSettings SharedSettings(ParseResult result) =>
        Fitted(result, Changed(result, result.GetValue(config) is { } file ? TrainingSettings.Load(file) : Presets.Find(result.GetValue(preset) ?? "default")));

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

    private static TrainingSettings Checked(TrainingSettings settings)
    {
        settings.Optimizer.Check();
        return settings;
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
        settings with { Model = Models.ModelConfig.Find(path), Layers = null, Heads = null, Channels = null, Dropout = null };

    private static RateFactor RateFactorOf(string text)
    {
        int sign = text.LastIndexOf('=');
        return sign > 0 && double.TryParse(text.AsSpan(sign + 1), NumberStyles.Float, CultureInfo.InvariantCulture, out double factor) && factor >= 0
            ? new RateFactor(text[..sign], factor)
            : throw new UserException($"--lr-for {text}: it is PATTERN=FACTOR, such as *wte*=0.1");
    }

    private Option<T> Setting<T>(string name, string description, Func<TrainingSettings, T, TrainingSettings> apply)
    {
        Option<T> option = Add(new Option<T>(name) { Description = description, AllowMultipleArgumentsPerToken = typeof(T).IsArray });
        changes.Add((result, settings) => result.GetResult(option) is { Implicit: false } && result.GetValue(option) is { } value ? apply(settings, value) : settings);
        return option;
    }

    private T Add<T>(T option) where T : Option
    {
        all.Add(option);
        return option;
    }
}
