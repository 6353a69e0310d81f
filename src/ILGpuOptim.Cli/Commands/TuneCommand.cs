using System.CommandLine;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Models;
using ILGpuOptim.Training;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>tune</c>: measures the fastest tiles of a GPU's matrix products.</summary>
internal static class TuneCommand
{
    public static Command Create()
    {
        var options = new TrainOptions();
        var command = new Command("tune", "Measure the tiles of the matrix products of one training step on a GPU, and save the fastest for later runs. Takes the flags of train.");
        foreach (Option option in options.All)
            command.Options.Add(option);
        command.SetAction(result =>
        {
            TrainingSettings settings = options.Settings(result);
            using Device device = CommonOptions.Open(settings.Device, settings.Threads);
            var tuning = new ProductTuning(device);
            Dataset data = TrainingRun.LoadData(settings);
            ModelConfig config = TrainedModel.Configuration(settings, data);
            MemoryPlan.Of(config, settings, device).CheckAgainst(device);
            using (LanguageModel model = TrainedModel.Create(config, settings, device))
            using (var trainer = new Trainer(device, model, data, settings))
                trainer.Step();
            device.Pool.Trim();
            bool json = result.GetValue(options.Json);
            if (!json)
                Console.WriteLine($"{"product",-28}{"current",-20}{"us",10}   {"fastest",-20}{"us",10}");
            foreach (TunedProduct product in tuning.Measure())
            {
                if (json)
                    CommonOptions.PrintJson(new { product.Product, Current = $"{product.Rule.Plan}", CurrentMicroseconds = product.Rule.Microseconds, Fastest = $"{product.Best.Plan}", FastestMicroseconds = product.Best.Microseconds });
                else
                    Console.WriteLine($"{product.Product,-28}{product.Rule.Plan,-20}{product.Rule.Microseconds,10:F1}   {product.Best.Plan,-20}{product.Best.Microseconds,10:F1}");
            }

            tuning.Save();
            if (!json)
                Console.WriteLine($"saved in {tuning.Path}; remove the file to restore the default choice");
        });
        return command;
    }
}
