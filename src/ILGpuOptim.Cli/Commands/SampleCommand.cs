using System.CommandLine;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Generation;
using ILGpuOptim.Models;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>sample</c>: text from a trained model.</summary>
internal static class SampleCommand
{
    public static Command Create()
    {
        var source = new Argument<string>("source") { Description = "a run, a checkpoint, or a folder with config.json and model.safetensors" };
        var prompt = new Option<string>("--prompt") { Description = "what the text begins with", DefaultValueFactory = _ => "\n" };
        var tokens = new Option<int>("--tokens") { Description = "how many tokens to add", DefaultValueFactory = _ => 300 };
        var temperature = new Option<double>("--temperature") { Description = "0 takes the likeliest token each time", DefaultValueFactory = _ => 0.8 };
        var topK = new Option<int>("--top-k") { Description = "draw among so many likeliest tokens; 0 among all" };
        var seed = new Option<ulong>("--seed") { Description = "repeats the same text", DefaultValueFactory = _ => 1UL };
        Option<string?> device = CommonOptions.Device();
        Option<int?> threads = CommonOptions.Threads();
        Option<bool> json = CommonOptions.Json();
        var command = new Command("sample", "Write text with a trained model.") { source, prompt, tokens, temperature, topK, seed, device, threads, json };
        command.SetAction(result =>
        {
            string folder = CommonOptions.ModelFolder(result.GetRequiredValue(source));
            ITokenizer tokenizer = Tokenizers.Load(folder)
                ?? throw new UserException($"{folder}: there is no tokenizer beside the model; sampling needs one to read the prompt");
            using Device target = CommonOptions.Open(result.GetValue(device), result.GetValue(threads));
            using LanguageModel model = ModelFiles.Load(folder, target);
            var options = new SamplingOptions { Temperature = result.GetValue(temperature), TopK = result.GetValue(topK), Seed = result.GetValue(seed) };
            string begin = result.GetRequiredValue(prompt);
            var ids = new List<int>(tokenizer.Encode(begin));
            bool stream = !result.GetValue(json);
            if (stream)
                Console.Write(begin);
            string shown = begin;
            foreach (int id in new TextGenerator(model, target).Continue([.. ids], result.GetValue(tokens), options))
            {
                ids.Add(id);
                if (!stream)
                    continue;

                // A character may take several tokens: print what is whole.
                string text = tokenizer.Decode(ids.ToArray());
                if (text.EndsWith('\uFFFD') || text.Length <= shown.Length)
                    continue;
                Console.Write(text[shown.Length..]);
                shown = text;
            }

            if (stream)
                Console.WriteLine();
            else
                CommonOptions.PrintJson(new { Prompt = begin, Ids = ids, Text = tokenizer.Decode(ids.ToArray()) });
        });
        return command;
    }
}
