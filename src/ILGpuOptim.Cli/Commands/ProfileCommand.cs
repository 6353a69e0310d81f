using System.CommandLine;
using System.CommandLine.Parsing;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Lab;
using ILGpuOptim.Models;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>profile</c>: the time of each kernel of a training step, held against what the device reaches.</summary>
internal static class ProfileCommand
{
    private static readonly string[] OfRuns = ["--resume", "--out", "--allow-data-change"];

    public static Command Create()
    {
        var model = new Argument<string?>("model") { Description = "as --model: a configuration, its name in models/, or a folder that holds one", Arity = ArgumentArity.ZeroOrOne };
        var options = new TrainOptions { Model = model };
        Option<int> steps = Flag.Of("--measured-steps", "training steps that are measured, after two that compile and allocate", 3, new RangeAttribute(1, 1000));
        var trace = new Option<string?>("--trace") { Description = "write every launch to this file, for the viewers of Perfetto and Chrome" };
        var command = new Command("profile", "Time each kernel of a training step beside its bytes and operations; takes the flags of train, and writes no run.") { model, steps, trace };
        foreach (Option option in options.All)
            command.Options.Add(option);
        command.SetAction(result =>
        {
            foreach (string flag in OfRuns)
            {
                if (result.GetResult(flag) is OptionResult { Implicit: false })
                    throw new UserException($"{flag}: profile measures steps of a new model and writes no run; leave it out");
            }

            TrainingSettings settings = options.Settings(result);
            ModelConfig config = MemoryCommand.Configuration(settings, result, out int? vocabulary);
            using Dataset data = vocabulary is { } size ? RandomData(settings, config.VocabularySize) : TrainingRun.LoadData(settings, settings.From);
            using Device device = CommonOptions.Open(settings.Device, settings.Threads);
            var plan = MemoryPlan.Of(config, settings, device);
            plan.CheckAgainst(device);
            CommonOptions.Note(plan);
            var profile = StepProfile.Of(device, config, settings, data, result.GetValue(steps));
            if (result.GetValue(trace) is { } file)
                KernelTrace.Write(file, profile.Trace);
            Print(profile, device, $"{config.Summary}, {settings.Batch} x {settings.Block} tokens, {settings.Optimizer.Name}", result.GetValue(options.Json));
        });
        return command;
    }

    /// <summary>Random tokens, for models whose vocabulary does not follow data.</summary>
    private static Dataset RandomData(TrainingSettings settings, int vocabulary)
    {
        var random = new Random(1);
        int length = checked(4 * settings.Batch * settings.Block + 1);
        return Dataset.FromTokens(TokenSequence.From([.. Enumerable.Range(0, length).Select(_ => random.Next(vocabulary))]), vocabulary, null, 0, "random tokens", DocumentEnds.One(length));
    }

    private static void Print(StepProfile profile, Device device, string what, bool json)
    {
        DeviceRoof roof = profile.Roof;
        ProfileRow[] slow = [.. profile.Rows.Where(row => row.IsSlow)];
        if (json)
        {
            CommonOptions.PrintJson(new { Device = device.Name, device.Description, Training = what, StepSeconds = profile.Seconds, roof.BytesPerSecond, roof.OperationsPerSecond, roof.LaunchSeconds });
            foreach (ProfileRow row in profile.Rows)
                CommonOptions.PrintJson(new { row.Name, row.Shape, row.Launches, row.Seconds, row.Cost.Bytes, row.Cost.Operations, row.Share, row.OfRoof, row.Limit, row.IsSlow });
            return;
        }

        Console.WriteLine($"{device.Name}: {device.Description}; copies {roof.BytesPerSecond / 1e9:G3} GB/s, products {roof.OperationsPerSecond / 1e9:G3} GFLOP/s, a launch {roof.LaunchSeconds * 1e6:G3} us");
        Console.WriteLine($"{what}: {profile.Seconds * 1e3:F2} ms a step, each launch waited for");
        Console.WriteLine($"{"ms",9} {"share",7} {"launches",9} {"MB",9} {"MFLOP",10} {"of roof",8}  limit       kernel");
        foreach (ProfileRow row in profile.Rows)
            Console.WriteLine(Line(row));
        Console.WriteLine(slow.Length == 0 ? "no kernel is below 50 % of its roof and above 1 % of the step" : "below 50 % of its roof and above 1 % of the step:");
        foreach (ProfileRow row in slow)
            Console.WriteLine(Line(row));
    }

    private static string Line(ProfileRow row) =>
        $"{row.Seconds * 1e3,9:F3} {row.Share * 100,5:F1} % {row.Launches,9:0.#} {row.Cost.Bytes / 1e6,9:F2} {row.Cost.Operations / 1e6,10:F2} {(row.OfRoof is { } part ? $"{part * 100:F0} %" : ""),8}  {row.Limit,-10}  {row.Name} {row.Shape}";
}
