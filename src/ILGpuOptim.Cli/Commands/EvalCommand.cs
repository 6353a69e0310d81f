using System.CommandLine;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Files;
using ILGpuOptim.Models;
using ILGpuOptim.Tasks;
using ILGpuOptim.Training;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>eval</c>: measures models on a text and on tasks.</summary>
internal sealed class EvalCommand
{
    private static readonly EvaluationOptions Defaults = new();
    private static readonly TaskOptions TaskDefaults = new();

    private readonly Argument<string[]> sources = new("source") { Description = "runs, checkpoints, or folders with config.json and model.safetensors; several give one table", Arity = ArgumentArity.OneOrMore };
    private readonly Option<string[]> data = new("--data") { Description = "text or token files to measure the loss on; default: the validation data of the run", AllowMultipleArgumentsPerToken = true };
    private readonly Option<int> stride = Flag.For<int>("--stride", "tokens from the start of one window to that of the next; overlapping tokens are context only. 0: no overlap", Defaults, nameof(Defaults.Stride));
    private readonly Option<int> block = Flag.For<int>("--block", $"tokens per window. 0: the model's positions, at most {EvaluationOptions.MaxBlock}", Defaults, nameof(Defaults.Block));
    private readonly Option<bool?> documents = Flag.Of<bool?>("--documents", "keep documents apart, as train does; default: as the run was trained");
    private readonly Option<bool> noLoss = new("--no-loss") { Description = "measure the tasks only" };
    private readonly Option<string[]> tasks = new("--task") { Description = "files of multiple-choice questions, continuations or prompts with answers (.jsonl, .json, .gz, .parquet, llm.c's .bin)", AllowMultipleArgumentsPerToken = true };
    private readonly Option<string?> format = new("--format") { Description = "format of the tasks' records: " + string.Join(", ", TaskFormats.Names) + "; default: known by the fields" };
    private readonly Option<int> limit = Flag.For<int>("--limit", "questions to take from the beginning of each task. 0: all", TaskDefaults, nameof(TaskDefaults.Limit));
    private readonly Option<int> shots = Flag.For<int>("--shots", "examples with their answers before each question", TaskDefaults, nameof(TaskDefaults.Shots));
    private readonly Option<string?> shotsFrom = new("--shots-from") { Description = "file of the examples; the first ones are taken, of the same subject where records have one" };
    private readonly Option<LengthUnit?> norm = Flag.Of<LengthUnit?>("--norm", "unit of length for acc_norm: characters, bytes or tokens; default: characters, and tokens for llm.c's .bin files");
    private readonly Option<int> tokens = Flag.For<int>("--tokens", "most tokens of a generated answer", TaskDefaults, nameof(TaskDefaults.Tokens));
    private readonly Option<string[]> stops = new("--stop") { Description = "end a generated answer before this string; may be repeated. Default: a line feed" };
    private readonly Option<string?> predictions = new("--predictions") { Description = "write the prediction for each question to this file, as JSON lines" };
    private readonly Option<string?> device = CommonOptions.Device();
    private readonly Option<int?> threads = CommonOptions.Threads();
    private readonly Option<bool> json = CommonOptions.Json();
    private readonly Option<WeightChoice> weights = CommonOptions.Weights();

    public static Command Create() => new EvalCommand().Build();

    private Command Build()
    {
        var command = new Command("eval", "Measure loss, perplexity and bits per byte, and accuracy on tasks; for BERT and T5, the accuracy on masked tokens.")
        {
            sources, data, stride, block, documents, noLoss, tasks, format, limit, shots, shotsFrom, norm, tokens, stops, predictions, device, threads, json, weights,
        };
        command.SetAction(Run);
        return command;
    }

    private int Run(ParseResult result)
    {
        string[] paths = result.GetRequiredValue(sources);
        TaskOptions options = Options(result);
        if (options.Format is not null && (result.GetValue(tasks) ?? []).Length == 0)
            throw new UserException("--format is that of the records of a task; name the task with --task");
        IReadOnlyList<EvaluationTask> questions = [.. (result.GetValue(tasks) ?? []).Select(path => EvaluationTask.Open(path, options))];
        using Device target = CommonOptions.Open(result.GetValue(device), result.GetValue(threads));
        var measured = new List<EvaluatedSource>();
        var output = new EvalOutput(questions, result.GetValue(json), paths.Length > 1);
        int code = 0;
        foreach (string path in paths)
        {
            EvaluatedSource source;
            try
            {
                source = Measure(result, path, questions, options, target);
            }
            catch (Exception e) when (paths.Length > 1 && e is UserException or IOException or UnauthorizedAccessException)
            {
                // The others are measured all the same.
                source = new EvaluatedSource(path, null, []) { Error = (e as UserException)?.MessageWith(SettingFlags.NameOf) ?? e.Message };
                code = Failure.Report(new UserException(source.Error.StartsWith(path, StringComparison.Ordinal) ? source.Error : $"{path}: {source.Error}", e), Console.Error);
            }

            measured.Add(source);
            output.Add(source);
        }

        output.Finish();
        if (result.GetValue(predictions) is { } file)
            AtomicFolder.WriteText(file, EvalOutput.Predictions(measured));
        return code;
    }

    private TaskOptions Options(ParseResult result) => new()
    {
        Format = result.GetValue(format),
        Limit = result.GetValue(limit),
        Shots = result.GetValue(shots),
        ShotsFrom = result.GetValue(shotsFrom),
        Norm = result.GetValue(norm),
        Tokens = result.GetValue(tokens),
        Stops = result.GetValue(stops) is { Length: > 0 } given ? given : TaskDefaults.Stops,
    };

    private EvaluatedSource Measure(ParseResult result, string path, IReadOnlyList<EvaluationTask> questions, TaskOptions options, Device target)
    {
        using ModelSource found = ModelSource.Open(path, result.GetValue(weights));
        string folder = found.Folder;
        TrainingSettings? run = EvalData.SettingsOf(path);
        string[] files = result.GetValue(data) ?? [];
        bool measuresLoss = !result.GetValue(noLoss) && (files.Length > 0 || run is not null || questions.Count == 0);
        EvalData? text = measuresLoss ? EvalData.Open(path, folder, run, files, result.GetValue(documents) ?? run?.Documents ?? false, result.GetValue(block)) : null;
        foreach (string note in text?.Notes ?? [])
            Console.Error.WriteLine($"note: {note}");
        using LanguageModel model = ModelFiles.Load(folder, target);
        CommonOptions.NoteUnused(model, folder);
        if (text?.Answers is not null && result.GetValue(stride) != 0)
            throw new UserException("--stride is for running text; the answers of conversations are predicted once each, so leave it out");
        EvaluationResult? loss = text is null ? null
            : text.Answers is { } answers ? Evaluation.RunAnswers(model, target, text.Tokens, answers, text.Documents!)
            : Evaluation.Run(model, target, text.Tokens, text.Bytes, new EvaluationOptions
            {
                Stride = result.GetValue(stride),
                Block = result.GetValue(block),
                MaskedFraction = run?.MaskedFraction ?? Defaults.MaskedFraction,
                MeanSpan = run?.MeanSpan ?? Defaults.MeanSpan,
            }, text.Documents);
        var scored = new List<TaskResult>();
        if (questions.Count > 0)
        {
            var evaluation = new TaskEvaluation(model, target, Tokenizers.Load(folder), GenerationConfig.Of(folder).EndTokens);
            scored.AddRange(questions.Select(task => evaluation.Run(task, options, EvalOutput.Progress(task))));
        }

        foreach (TaskResult cut in scored.Where(item => item.Cut > 0))
            Console.Error.WriteLine($"note: {path}: {cut.Cut:N0} contexts of {cut.Task.Name} are longer than the model's {model.Config.ContextLength} positions and were cut at their beginning");
        return new EvaluatedSource(path, loss, scored);
    }
}
