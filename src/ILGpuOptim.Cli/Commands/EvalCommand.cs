using System.CommandLine;
using System.Text;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Models;
using ILGpuOptim.Training;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>eval</c>: measures the loss of a model on a text.</summary>
internal static class EvalCommand
{
    public static Command Create()
    {
        var source = new Argument<string>("source") { Description = "run, checkpoint, or folder with config.json and model.safetensors" };
        var data = new Option<string[]>("--data") { Description = "text or token files to evaluate on; default: the validation data of the run", AllowMultipleArgumentsPerToken = true };
        var defaults = new EvaluationOptions();
        Option<int> stride = Flag.For<int>("--stride", "tokens from the start of one window to that of the next; overlapping tokens are context only. 0: no overlap", defaults, nameof(defaults.Stride));
        Option<int> block = Flag.For<int>("--block", $"tokens per window. 0: the model's positions, at most {EvaluationOptions.MaxBlock}", defaults, nameof(defaults.Block));
        Option<bool?> documents = Flag.Of<bool?>("--documents", "keep documents apart, as train does; default: as the run was trained");
        Option<string?> device = CommonOptions.Device();
        Option<int?> threads = CommonOptions.Threads();
        Option<bool> json = CommonOptions.Json();
        var command = new Command("eval", "Measure loss, perplexity and bits per byte; for BERT and T5, also the accuracy on masked tokens.") { source, data, stride, block, documents, device, threads, json };
        command.SetAction(result =>
        {
            string path = result.GetRequiredValue(source);
            using ModelSource found = ModelSource.Open(path);
            string folder = found.Folder;
            TrainingSettings? run = SettingsOf(path);
            Source text = Tokens(path, folder, run, result.GetValue(data) ?? [], result.GetValue(documents) ?? run?.Documents ?? false);
            foreach (string note in text.Notes)
                Console.Error.WriteLine($"note: {note}");
            using Device target = CommonOptions.Open(result.GetValue(device), result.GetValue(threads));
            using LanguageModel model = ModelFiles.Load(folder, target);
            CommonOptions.NoteUnused(model, folder);
            var options = new EvaluationOptions
            {
                Stride = result.GetValue(stride),
                Block = result.GetValue(block),
                MaskedFraction = run?.MaskedFraction ?? defaults.MaskedFraction,
                MeanSpan = run?.MeanSpan ?? defaults.MeanSpan,
            };
            EvaluationResult measured = Evaluation.Run(model, target, text.Tokens, text.Bytes, options, text.Documents);
            if (result.GetValue(json))
            {
                CommonOptions.PrintJson(new { measured.Tokens, measured.Loss, measured.Perplexity, measured.BitsPerByte, measured.Accuracy });
                return;
            }

            Console.WriteLine($"tokens         {measured.Tokens:N0}");
            Console.WriteLine($"loss           {measured.Loss:F4} nats per token");
            Console.WriteLine($"perplexity     {measured.Perplexity:F4}");
            if (measured.BitsPerByte is { } bits)
                Console.WriteLine($"bits per byte  {bits:F4}");
            if (measured.Accuracy is { } accuracy)
                Console.WriteLine($"accuracy       {accuracy:P2} of the masked tokens");
        });
        return command;
    }

    /// <summary>The settings of a run, or of the run of a checkpoint; null for other models.</summary>
    private static TrainingSettings? SettingsOf(string path)
    {
        string run = File.Exists(Path.Combine(path, TrainingRun.SettingsFile)) ? path : Path.Combine(path, "..", "..");
        string settings = Path.Combine(run, TrainingRun.SettingsFile);
        return File.Exists(settings) ? TrainingSettings.LoadRun(settings) : null;
    }

    private static Source Tokens(string path, string folder, TrainingSettings? run, string[] data, bool documents)
    {
        ITokenizer? tokenizer = Tokenizers.Load(folder);
        if (data.Length == 0)
        {
            Dataset own = TrainingRun.LoadData((run ?? throw new UserException($"{path}: not a run, so there is no data to evaluate on; give --data")) with { Documents = documents }, folder);
            return new Source(own.Validation, tokenizer is null ? null : Encoding.UTF8.GetByteCount(tokenizer.Decode(own.Validation.ToArray())), own.ValidationDocuments, own.Notes);
        }

        if (data.All(file => file.EndsWith(".bin", StringComparison.OrdinalIgnoreCase)))
        {
            if (!documents)
                return new Source(TokenSequence.Join([.. data.Select(TokenFile.Open)]), null, null, []);
            (TokenSequence tokens, DocumentEnds ends, IReadOnlyList<string> notes) = Dataset.OpenDocuments(data, tokenizer);
            return new Source(tokens, null, ends, notes);
        }

        if (tokenizer is null)
            throw new UserException($"{folder}: there is no tokenizer beside the model, so it cannot read text; give a .bin token file");
        string text = TextSource.Read(data, out IReadOnlyList<int> fileEnds);
        if (!documents)
            return new Source(TokenSequence.From(tokenizer.Encode(text)), Encoding.UTF8.GetByteCount(text), null, []);
        Dataset apart = Dataset.FromDocuments(text, fileEnds, tokenizer, 0, string.Join(", ", data));
        return new Source(apart.Training, null, apart.TrainingDocuments, apart.Notes);
    }

    /// <summary>The tokens to evaluate on.</summary>
    /// <param name="Tokens">The tokens.</param>
    /// <param name="Bytes">The number of bytes of their text, if known.</param>
    /// <param name="Documents">Their documents; null where they are not kept apart.</param>
    /// <param name="Notes">How the documents were found.</param>
    private sealed record Source(TokenSequence Tokens, long? Bytes, DocumentEnds? Documents, IReadOnlyList<string> Notes);
}
