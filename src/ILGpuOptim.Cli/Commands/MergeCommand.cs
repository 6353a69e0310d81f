using System.CommandLine;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Data.ChatTemplates;
using ILGpuOptim.Files;
using ILGpuOptim.Models;
using ILGpuOptim.Training;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>merge</c>: merges adapters into a model.</summary>
internal static class MergeCommand
{
    public static Command Create()
    {
        var source = new Argument<string>("source") { Description = "run, checkpoint, or folder with adapters" };
        var target = new Argument<string>("folder") { Description = "output folder, which must not exist" };
        Option<bool> json = CommonOptions.Json();
        Option<WeightChoice> weights = CommonOptions.Weights();
        var command = new Command("merge", "Write a model in Hugging Face's layout, with its adapters and branches merged into weights of floats.") { source, target, json, weights };
        command.SetAction(result =>
        {
            string output = result.GetRequiredValue(target);
            if (Path.Exists(output))
                throw new UserException($"{output}: it exists already; name a new folder");
            using ModelSource found = ModelSource.Open(result.GetRequiredValue(source), result.GetValue(weights));
            string folder = found.Folder;
            using var device = new CpuDevice();
            using LanguageModel model = ModelFiles.LoadWide(folder, device);
            CommonOptions.NoteUnused(model, folder);
            ITokenizer? tokenizer = Tokenizers.Load(folder);
            try
            {
                AtomicFolder.Write(Path.GetFullPath(output), partial =>
                {
                    ModelFiles.Save(partial, model);
                    tokenizer?.Save(partial);
                    ChatTemplate.Copy(folder, partial);
                });
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new UserException($"{output}: the model cannot be written: {e.Message}", e);
            }

            if (result.GetValue(json))
                CommonOptions.PrintJson(new { Folder = output, Model = model.Config.Summary, Parameters = model.ParameterCount });
            else
                Console.WriteLine($"{output}: {model.Config.Summary}, {model.ParameterCount:N0} parameters");
        });
        return command;
    }
}
