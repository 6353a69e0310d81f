using System.CommandLine;
using System.CommandLine.Parsing;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Models;
using ILGpuOptim.Training;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>memory</c>: the memory that a run needs.</summary>
internal static class MemoryCommand
{
    public static Command Create()
    {
        var model = new Argument<string?>("model") { Description = "as --model: a configuration, its name in models/, or a folder that holds one", Arity = ArgumentArity.ZeroOrOne };
        var options = new TrainOptions { Model = model };
        var command = new Command("memory", "Predict the memory of a run; takes the flags of train, and allocates none of it.") { model };
        foreach (Option option in options.All)
            command.Options.Add(option);
        Option<int> ranks = Flag.Of("--ranks", "processes that train together (train --data-parallel): the memory of each; --shards is their number by default", 1, new Validation.RangeAttribute(1, 1024));
        command.Options.Add(ranks);
        command.SetAction(result =>
        {
            int size = result.GetValue(ranks);
            TrainingSettings settings = options.WithShards(options.Settings(result), result, size);
            ModelConfig config = Configuration(settings, result, out _);
            using Device device = CommonOptions.Open(settings.Device, settings.Threads);
            MemoryPlan[] plans = [.. Enumerable.Range(0, size).Select(rank => MemoryPlan.Of(config, settings, device, rank, size))];
            MemoryPlan plan = plans.MaxBy(each => each.Total)!;
            CommonOptions.Note(plan);
            if (result.GetValue(options.Json))
            {
                CommonOptions.PrintJson(size == 1 ? Fields(plan) : new { plan.Parameters, Ranks = plans.Select(Fields) });
                return;
            }

            if (size > 1)
            {
                Console.WriteLine($"ranks        {size}, with {settings.Shards / size} of {settings.Shards} shards each");
                Console.WriteLine("rank         weights  gradients      state   averages  activations   together  GB");
                foreach ((int rank, MemoryPlan each) in plans.Index())
                    Console.WriteLine($"{rank,4}      {each.Weights / 1e9,10:F4} {each.Gradients / 1e9,10:F4} {each.State / 1e9,10:F4} {each.Averages / 1e9,10:F4}   {each.Activations / 1e9,10:F4} {each.Total / 1e9,10:F4}");
                Console.WriteLine($"all ranks together {plans.Sum(each => each.Total) / 1e9:F4} GB; that with the most:");
            }

            Console.WriteLine($"model        {config.Summary}: {plan.Parameters:N0} parameters");
            Console.WriteLine($"weights      {plan.Weights / 1e9,10:F4} GB  {settings.ParameterType.ToString().ToLowerInvariant()}");
            Console.WriteLine($"gradients    {plan.Gradients / 1e9,10:F4} GB  {(settings.Layerwise ? "the most at once, layer by layer" : "all")}");
            Console.WriteLine($"state        {plan.State / 1e9,10:F4} GB  {settings.Optimizer.Name}, {settings.Optimizer.StateType.ToString().ToLowerInvariant()}");
            if (plan.Averages > 0)
                Console.WriteLine($"averages     {plan.Averages / 1e9,10:F4} GB  f32, of the trained weights");
            Console.WriteLine($"activations  {plan.Activations / 1e9,10:F4} GB  {(settings.Precision == Precision.BF16 ? "bf16" : "f32")}, {settings.Batch} sequences of {settings.Block} tokens, and workspace");
            Console.WriteLine($"together     {plan.Total / 1e9,10:F4} GB");
            Console.WriteLine($"program      {plan.Process / 1e9,10:F4} GB  of the host's memory beside it: .NET, compiled code, buffers for loading and saving (estimated)");
        });
        return command;
    }

    private static object Fields(MemoryPlan plan) => new { plan.Parameters, plan.Weights, plan.Gradients, plan.State, plan.Averages, plan.Activations, plan.Total, plan.Process };

    /// <summary>
    /// The configuration that <c>train</c> would use. Its vocabulary is that of the data; a model with a vocabulary of its own keeps that unless
    /// flags name data or a tokenizer; <paramref name="own"/> is then not null.
    /// </summary>
    internal static ModelConfig Configuration(TrainingSettings settings, ParseResult result, out int? own)
    {
        string? run = result.GetValue<string?>("--resume"), checkpoint = run is null ? null : TrainingRun.Checkpoints(run).LastOrDefault().Path;
        bool namesData = run is not null || settings.Data.Count > 0 || settings.Tokenizer != "char" || result.GetResult("--tokenizer") is OptionResult { Implicit: false };

        // A checkpoint keeps its own vocabulary whatever the data; a preset's model leaves its, which is 1, to the data.
        own = namesData ? null : settings.From is not null ? 1 : settings.Model is { VocabularySize: > 1 and var size } ? size : null;
        using Dataset data = own is { } vocabulary ? MemoryPlan.DataOf(settings, vocabulary) : TrainingRun.LoadData(settings, checkpoint ?? settings.From);
        if (own > 1)
            Console.Error.WriteLine($"note: a vocabulary of {own} tokens, as the model has; with --data or --tokenizer it is that of the data, as in training");
        return TrainedModel.Configuration(settings, data, checkpoint);
    }
}
