using System.CommandLine;
using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Models;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>import</c>: converts files of llama.cpp and llama2.c.</summary>
internal static class ImportCommand
{
    /// <summary>llama2.c ends a text at the begin-of-text token too.</summary>
    private const string Llama2CGeneration = "{\n  \"bos_token_id\": 1,\n  \"eos_token_id\": [1, 2]\n}\n";

    public static Command Create()
    {
        var file = new Argument<string>("file") { Description = "GGUF file of llama.cpp, or llama2.c checkpoint in the legacy format" };
        var output = new Option<string>("--out") { Description = "output folder", Required = true };
        var tokenizer = new Option<string?>("--tokenizer") { Description = "llama2.c's tokenizer.bin; without it, the model reads and writes token ids. GGUF files have their own tokenizer" };
        Option<bool> json = CommonOptions.Json();
        var command = new Command("import", "Convert a GGUF file or a llama2.c checkpoint to a folder in Hugging Face's layout.") { file, output, tokenizer, json };
        command.SetAction(result =>
        {
            string path = result.GetRequiredValue(file), folder = result.GetRequiredValue(output);
            string? pieces = result.GetValue(tokenizer);
            if (File.Exists(folder) || (Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder).Any()))
                throw new UserException($"{folder}: it exists already; choose another --out");
            bool isGguf = GgufFile.Recognises(path);
            if (isGguf && pieces is not null)
                throw new UserException($"--tokenizer: {path} is a GGUF file, which has its own tokenizer");
            using var device = new CpuDevice();
            long parameters = 0;
            List<string> notes = [];
            try
            {
                AtomicFolder.Write(folder, target =>
                {
                    using LanguageModel model = isGguf ? GgufModelFile.Import(path, device, target) : Llama2CFile.Import(path, device);
                    ModelFiles.Save(target, model);
                    if (!isGguf)
                        AtomicFolder.WriteText(Path.Combine(target, GenerationConfig.FileName), Llama2CGeneration);
                    if (pieces is not null)
                        Llama2CTokenizer.Import(pieces, model.Config.VocabularySize, target);
                    parameters = model.ParameterCount;
                    notes.AddRange(model.Parameters.Select(NotFinite).OfType<string>());
                });
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new UserException($"{folder}: {e.Message}", e);
            }

            foreach (string note in notes)
                Console.Error.WriteLine($"note: {path}: {note}");
            if (result.GetValue(json))
                CommonOptions.PrintJson(new { Folder = folder, Parameters = parameters });
            else
                Console.WriteLine($"{folder}: {parameters:N0} parameters");
        });
        return command;
    }

    /// <summary>A note about weights that are NaN or infinite, with which no loss is finite; null if there are none.</summary>
    private static string? NotFinite(Parameter parameter)
    {
        int count = parameter.ToArray().Count(value => !float.IsFinite(value));
        return count == 0 ? null : $"{parameter.Name}: {count:N0} of {parameter.Length:N0} weights are NaN or infinite";
    }
}
