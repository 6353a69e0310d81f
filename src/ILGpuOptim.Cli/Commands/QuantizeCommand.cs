using System.CommandLine;
using System.Globalization;
using ILGpuOptim.Compute;
using ILGpuOptim.Data.Conversations;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>quantize</c>: stores the weights of a model in 4 bits and measures what that costs.</summary>
internal static class QuantizeCommand
{
    public static Command Create()
    {
        var defaults = new QuantizationConfig();
        var source = new Argument<string>("source") { Description = "run, checkpoint, or folder with config.json and model.safetensors" };
        var output = new Option<string>("--out") { Description = "output folder, which must not exist", Required = true };
        Option<int> bits = Flag.Of("--bits", "bits of a weight; 4", defaults.Bits);
        Option<int> group = Flag.Of("--group", $"weights in a row that share a scale: {string.Join(", ", QuantizationConfig.Groups)}", defaults.GroupSize);
        Option<int> rank = Flag.Of("--branch-rank", "rank of the low-rank branch beside each weight, which takes its largest singular values; 0: none", defaults.BranchRank);
        var data = new Option<string[]>("--data") { Description = "text or token files to measure the perplexity on; default: the validation data of the run", AllowMultipleArgumentsPerToken = true };
        Option<int> batches = Flag.Of("--eval-batches", $"batches of {Evaluation.BatchTokens:N0} tokens to measure the perplexity on, from the beginning of the data; 0: all", 16, new RangeAttribute(0, 1_000_000));
        Option<string?> device = CommonOptions.Device();
        Option<int?> threads = CommonOptions.Threads();
        Option<bool> json = CommonOptions.Json();
        var command = new Command("quantize", "Store the weights of a model in 4 bits, with a low-rank branch for their largest singular values.") { source, output, bits, group, rank, data, batches, device, threads, json };
        command.SetAction(result =>
        {
            var config = new QuantizationConfig { Bits = result.GetValue(bits), GroupSize = result.GetValue(group), BranchRank = result.GetValue(rank) };
            config.Check("", bits.Name, group.Name, rank.Name);
            string folder = result.GetRequiredValue(output), path = result.GetRequiredValue(source);
            ModelFolder.RequireNew(folder);
            using ModelSource found = ModelSource.Open(path);
            EvalData? text = TextOf(path, found.Folder, result.GetValue(data) ?? [])?.Beginning(result.GetValue(batches) * (long)Evaluation.BatchTokens);
            using Device target = CommonOptions.Open(result.GetValue(device), result.GetValue(threads));
            using LanguageModel model = ModelFiles.Load(found.Folder, target);
            CommonOptions.NoteUnused(model, found.Folder);
            List<Storage> storages = [Measure("f32", model, text)];
            if (config.BranchRank > 0)
            {
                using LanguageModel plain = ModelQuantization.Quantize(model, config with { BranchRank = 0 });
                storages.Add(Measure($"int4, groups of {config.GroupSize}, rounded to the nearest", plain, text));
            }

            using LanguageModel quantized = ModelQuantization.Quantize(model, config);
            storages.Add(Measure($"int4, groups of {config.GroupSize}, {(config.BranchRank > 0 ? $"branch of rank {config.BranchRank}" : "rounded to the nearest")}", quantized, text));
            ModelFolder.Write(folder, quantized, found.Folder);
            if (result.GetValue(json))
                CommonOptions.PrintJson(new { Folder = folder, Storages = storages });
            else
                Print(folder, storages);
        });
        return command;
    }

    private static EvalData? TextOf(string path, string folder, string[] data)
    {
        TrainingSettings? run = EvalData.SettingsOf(path);
        if (run is null && data.Length == 0)
        {
            Console.Error.WriteLine($"note: {path} is not a run, so there is no data to measure the perplexity on; give --data");
            return null;
        }

        if (data.Length == 0 && run!.Data.Any(ConversationFile.IsPairs))
        {
            Console.Error.WriteLine($"note: {path} is trained on pairs of answers, on which no perplexity is measured; give --data with conversations or text");
            return null;
        }

        EvalData text = EvalData.Open(path, folder, run, data, run?.Documents ?? false, block: 0);
        if (text.Tokens.Length >= 2)
            return text;
        Console.Error.WriteLine($"note: {(data.Length == 0 ? $"{path} has no validation data" : string.Join(", ", data) + " has fewer than two tokens")}, so the perplexity is not measured; give --data");
        return null;
    }

    private static Storage Measure(string name, LanguageModel model, EvalData? text)
    {
        EvaluationResult? measured = text is null ? null
            : text.Answers is { } answers ? Evaluation.RunAnswers(model, model.Device, text.Tokens, answers, text.Documents!)
            : Evaluation.Run(model, model.Device, text.Tokens, text.Bytes, documents: text.Documents);
        return new Storage(name, model.Parameters.Sum(parameter => parameter.Bytes), measured?.Loss, measured?.Perplexity);
    }

    private static void Print(string folder, List<Storage> storages)
    {
        int width = storages.Max(storage => storage.Weights.Length);
        Console.WriteLine($"{"weights".PadRight(width)}  {"bytes",15}  {"loss",8}  {"perplexity",10}");
        foreach (Storage storage in storages)
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{storage.Weights.PadRight(width)}  {storage.Bytes,15:N0}  {storage.Loss,8:F4}  {storage.Perplexity,10:F4}"));
        Console.WriteLine(folder);
    }

    /// <summary>A way to store the weights.</summary>
    /// <param name="Weights">Its name.</param>
    /// <param name="Bytes">The bytes of all parameters.</param>
    /// <param name="Loss">The loss in nats per token; null if there is no data.</param>
    /// <param name="Perplexity">Its exponential.</param>
    private sealed record Storage(string Weights, long Bytes, double? Loss, double? Perplexity);
}
