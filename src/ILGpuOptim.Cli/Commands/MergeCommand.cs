using System.CommandLine;
using ILGpuOptim.Compute;
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
            ModelFolder.RequireNew(output);
            using ModelSource found = ModelSource.Open(result.GetRequiredValue(source), result.GetValue(weights));
            string folder = found.Folder;
            using var device = new CpuDevice();
            using LanguageModel model = ModelFiles.LoadWide(folder, device);
            CommonOptions.NoteUnused(model, folder);
            ModelFolder.Write(output, model, folder);
            if (result.GetValue(json))
                CommonOptions.PrintJson(new { Folder = output, Model = model.Config.Summary, Parameters = model.ParameterCount });
            else
                Console.WriteLine($"{output}: {model.Config.Summary}, {model.ParameterCount:N0} parameters");
        });
        return command;
    }
}
