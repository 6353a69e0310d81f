using System.CommandLine;
using ILGpuOptim.Models;
using ILGpuOptim.Training;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>memory</c>: what a run would need.</summary>
internal static class MemoryCommand
{
    public static Command Create()
    {
        var model = new Argument<string?>("model") { Description = "as --model: a configuration, its name in models/, or a folder that holds one", Arity = ArgumentArity.ZeroOrOne };
        var options = new TrainOptions { Model = model };
        var command = new Command("memory", "Predict the memory of a run; takes the flags of train, and allocates nothing.") { model };
        foreach (Option option in options.All)
            command.Options.Add(option);
        command.SetAction(result =>
        {
            TrainingSettings settings = options.Settings(result);

            ModelConfig config = Configuration(settings);
            MemoryPlan plan = MemoryPlan.Of(config, settings);
            if (result.GetValue(options.Json))
            {
                CommonOptions.PrintJson(new { plan.Parameters, plan.Weights, plan.Gradients, plan.State, plan.Activations, plan.Total, plan.Process });
                return;
            }

            Console.WriteLine($"model        {config.Summary}: {plan.Parameters:N0} parameters");
            Console.WriteLine($"weights      {plan.Weights / 1e9,10:F4} GB  {settings.ParameterType.ToString().ToLowerInvariant()}");
            Console.WriteLine($"gradients    {plan.Gradients / 1e9,10:F4} GB  {(settings.Layerwise ? "the most at once, layer by layer" : "all")}");
            Console.WriteLine($"state        {plan.State / 1e9,10:F4} GB  {settings.Optimizer.Name}, {settings.Optimizer.StateType.ToString().ToLowerInvariant()}");
            Console.WriteLine($"activations  {plan.Activations / 1e9,10:F4} GB  {settings.Batch} sequences of {settings.Block} tokens, and workspace");
            Console.WriteLine($"together     {plan.Total / 1e9,10:F4} GB");
            Console.WriteLine($"program      {plan.Process / 1e9,10:F4} GB  of the host's memory beside it: .NET, compiled code, buffers for loading and saving (estimated)");
        });
        return command;
    }

    /// <summary>The model that would be trained. One with a vocabulary of its own needs no data; the presets' have that of the text.</summary>
    private static ModelConfig Configuration(TrainingSettings settings)
    {
        if (settings.Model is not { VocabularySize: > 1 } model)
            return TrainedModel.Configuration(settings, TrainingRun.LoadData(settings, settings.From));
        ModelConfig config = model.Resized(positions: Math.Max(model.ContextLength, settings.Block), layers: settings.Layers, heads: settings.Heads, hiddenSize: settings.HiddenSize, dropout: settings.Dropout);
        config.Check("settings");
        return config;
    }
}
