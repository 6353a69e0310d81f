using System.CommandLine;
using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Models;
using ILGpuOptim.Training;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>import</c> and <c>export</c>: read and write checkpoints of llama2.c.</summary>
internal static class Llama2CCommands
{
    /// <summary>llama2.c ends a text at the begin-of-text token too.</summary>
    private const string GenerationConfig = "{\n  \"bos_token_id\": 1,\n  \"eos_token_id\": [1, 2]\n}\n";

    public static Command CreateImport()
    {
        var file = new Argument<string>("file") { Description = "llama2.c checkpoint in the legacy format" };
        var output = new Option<string>("--out") { Description = "output folder", Required = true };
        var tokenizer = new Option<string?>("--tokenizer") { Description = "llama2.c's tokenizer.bin; without it, the model reads and writes token ids" };
        var command = new Command("import", "Convert a llama2.c checkpoint to a folder in Hugging Face's layout.") { file, output, tokenizer };
        command.SetAction(result =>
        {
            string path = result.GetRequiredValue(file), folder = result.GetRequiredValue(output);
            if (File.Exists(folder) || (Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder).Any()))
                throw new UserException($"{folder}: it exists already; choose another --out");
            using var device = new CpuDevice();
            using LanguageModel model = Llama2CFile.Import(path, device);
            try
            {
                AtomicFolder.Write(folder, target =>
                {
                    ModelFiles.Save(target, model);
                    AtomicFolder.WriteText(Path.Combine(target, "generation_config.json"), GenerationConfig);
                    if (result.GetValue(tokenizer) is { } pieces)
                        Llama2CTokenizer.Import(pieces, model.Config.VocabularySize, target);
                });
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new UserException($"{folder}: {e.Message}", e);
            }

            Console.WriteLine($"{folder}: {model.ParameterCount:N0} parameters");
        });
        return command;
    }

    public static Command CreateExport()
    {
        var source = new Argument<string>("source") { Description = "run, checkpoint, or folder with config.json and model.safetensors" };
        var output = new Option<string>("--out") { Description = "output file", Required = true };
        var command = new Command("export", "Write a LLaMA model as a llama2.c checkpoint in the legacy format.") { source, output };
        command.SetAction(result =>
        {
            string path = result.GetRequiredValue(output);
            if (Path.Exists(path))
                throw new UserException($"{path}: it exists already; choose another --out");
            using ModelSource found = ModelSource.Open(result.GetRequiredValue(source));
            string folder = found.Folder;
            using var device = new CpuDevice();
            using LanguageModel model = ModelFiles.Load(folder, device);
            CommonOptions.NoteUnused(model, folder);
            if (model.Config is not LlamaConfig)
                throw new UserException($"{folder}: llama2.c runs LLaMA models only, and this model is a {model.Config.Family}");
            Llama2CFile.Export(model, path);
            Console.WriteLine($"{path}: {new FileInfo(path).Length:N0} bytes");
        });
        return command;
    }
}
