using System.CommandLine;
using System.Text;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Models;
using ILGpuOptim.Training;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>eval</c>: how well a model predicts a text.</summary>
internal static class EvalCommand
{
    public static Command Create()
    {
        var source = new Argument<string>("source") { Description = "a run, a checkpoint, or a folder with config.json and model.safetensors" };
        var data = new Option<string[]>("--data") { Description = "text to evaluate on; without it, the validation part of the run's data", AllowMultipleArgumentsPerToken = true };
        var defaults = new EvaluationOptions();
        Option<int> stride = Flag.For<int>("--stride", "tokens from one window to the next; what overlaps is context. 0: windows do not overlap", defaults, nameof(defaults.Stride));
        Option<int> block = Flag.For<int>("--block", $"tokens of a window; 0: the model's positions, at most {EvaluationOptions.MostBlock}", defaults, nameof(defaults.Block));
        Option<string?> device = CommonOptions.Device();
        Option<int?> threads = CommonOptions.Threads();
        Option<bool> json = CommonOptions.Json();
        var command = new Command("eval", "Measure loss, perplexity and bits per byte, or how many hidden tokens a BERT finds.") { source, data, stride, block, device, threads, json };
        command.SetAction(result =>
        {
            string path = result.GetRequiredValue(source);
            using ModelSource found = ModelSource.Open(path);
            string folder = found.Folder;
            (TokenSequence tokens, long? bytes) = Tokens(path, folder, result.GetValue(data) ?? []);
            using Device target = CommonOptions.Open(result.GetValue(device), result.GetValue(threads));
            using LanguageModel model = ModelFiles.Load(folder, target);
            CommonOptions.NoteUnused(model, folder);
            EvaluationResult measured = Evaluation.Run(model, target, tokens, bytes, new EvaluationOptions { Stride = result.GetValue(stride), Block = result.GetValue(block) });
            if (result.GetValue(json))
            {
                CommonOptions.PrintJson(new { measured.Tokens, measured.Loss, measured.Perplexity, measured.BitsPerByte, measured.Accuracy });
                return;
            }

            Console.WriteLine($"tokens         {measured.Tokens:N0}");
            Console.WriteLine($"loss           {measured.Loss:F4} nats a token");
            Console.WriteLine($"perplexity     {measured.Perplexity:F4}");
            if (measured.BitsPerByte is { } bits)
                Console.WriteLine($"bits per byte  {bits:F4}");
            if (measured.Accuracy is { } accuracy)
                Console.WriteLine($"accuracy       {accuracy:P2} of the hidden tokens");
        });
        return command;
    }

    private static (TokenSequence Tokens, long? Bytes) Tokens(string path, string folder, string[] data)
    {
        ITokenizer? tokenizer = Tokenizers.Load(folder);
        if (data.Length > 0)
        {
            if (data.All(file => file.EndsWith(".bin", StringComparison.OrdinalIgnoreCase)))
                return (TokenSequence.Join([.. data.Select(TokenFile.Open)]), null);
            if (tokenizer is null)
                throw new UserException($"{folder}: there is no tokenizer beside the model, so it cannot read text; give a .bin token file");
            string text = TextSource.Read(data);
            return (TokenSequence.From(tokenizer.Encode(text)), Encoding.UTF8.GetByteCount(text));
        }

        string run = File.Exists(Path.Combine(path, TrainingRun.SettingsFile)) ? path : Path.Combine(path, "..", "..");
        string settings = Path.Combine(run, TrainingRun.SettingsFile);
        if (!File.Exists(settings))
            throw new UserException($"{path}: this is no run, so there is no data to evaluate on; give --data");
        Dataset dataset = TrainingRun.LoadData(TrainingSettings.LoadRun(settings), folder);
        TokenSequence tokens = dataset.Validation;
        return (tokens, tokenizer is null ? null : Encoding.UTF8.GetByteCount(tokenizer.Decode(tokens.ToArray())));
    }
}
