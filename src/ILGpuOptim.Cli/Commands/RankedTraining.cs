using System.CommandLine;
using System.Globalization;
using ILGpuOptim.Compute;
using ILGpuOptim.Distributed;
using ILGpuOptim.Training;

namespace ILGpuOptim.Cli.Commands;

/// <summary>The flags of <c>train</c> for several processes, and what a process does differently as one of them.</summary>
internal sealed class RankedTraining
{
    /// <summary>How long another rank waits for the first one to report an error that both may have.</summary>
    private static readonly TimeSpan ForTheFirst = TimeSpan.FromSeconds(3);

    private readonly Option<bool> dataParallel = new("--data-parallel") { Description = "train together with the other processes that mpirun or srun has started; --shards is the number of processes by default" };
    private readonly Option<int> timeout = Flag.Of("--rank-timeout", "with --data-parallel: seconds that a process waits for another", 600, new Validation.RangeAttribute(1, 1_000_000));

    public IReadOnlyList<Option> Flags => [dataParallel, timeout];

    /// <summary>Joins the other processes; null without the flag.</summary>
    public MpiCommunicator? Join(ParseResult result)
    {
        if (result.GetValue(dataParallel))
            return MpiCommunicator.Open(TimeSpan.FromSeconds(result.GetValue(timeout)));
        return result.GetResult(timeout) is { Implicit: false } ? throw new UserException("--rank-timeout is for several processes; add --data-parallel") : null;
    }

    /// <summary>
    /// Runs one rank. Only the first one prints, except that a rank with an error of its own reports it. An error ends all ranks.
    /// </summary>
    public static int Run(Communicator communicator, Func<int> train)
    {
        TextWriter output = Console.Out, error = Console.Error;
        try
        {
            if (communicator.Rank > 0)
            {
                Console.SetOut(TextWriter.Null);
                Console.SetError(TextWriter.Null);
            }

            return train();
        }
#pragma warning disable CA1031 // Whatever ends one rank must end the others.
        catch (Exception e) when (communicator.Size > 1)
#pragma warning restore CA1031
        {
            // An error that all ranks have, such as one of settings, is reported once: the first rank ends the others meanwhile.
            if (communicator.Rank > 0)
                Thread.Sleep(ForTheFirst);
            using var line = new StringWriter(CultureInfo.InvariantCulture);
            int code = Failure.Report(e, line);
            error.Write(communicator.Rank == 0 ? line.ToString() : $"rank {communicator.Rank}: {line}");
            error.Flush();
            communicator.Abort(e.Message);
            return code;
        }
        finally
        {
            Console.SetOut(output);
            Console.SetError(error);
        }
    }

    /// <summary>Opens the device of a rank: of several GPUs the one of its number on the machine, and of the processor's cores its share.</summary>
    public static Device Open(TrainingSettings settings, Communicator communicator)
    {
        string kind = settings.Device.ToLowerInvariant();
        if (communicator.LocalSize > 1 && kind == "auto" && Devices.List().FirstOrDefault(device => device.IsGpu && device.Problem is null) is { } gpu)
            kind = gpu.Name.Split(':')[0];
        if (communicator.LocalSize > 1 && kind is "cuda" or "opencl")
            return CommonOptions.Open($"{kind}:{communicator.LocalRank}", settings.Threads);
        return CommonOptions.Open(kind, settings.Threads > 0 ? settings.Threads : ThreadsOf(communicator));
    }

    /// <summary>The cores that this process may use, divided among the ranks that may use the same ones: a launcher may have bound each rank to its own.</summary>
    private static int ThreadsOf(Communicator communicator)
    {
        string cores = $"{Environment.MachineName} {AllowedCores()}";
        return Math.Max(1, Environment.ProcessorCount / communicator.Share(cores).Count(other => other == cores));
    }

    private static string AllowedCores() => !OperatingSystem.IsLinux() ? "" :
        File.ReadLines("/proc/self/status").FirstOrDefault(line => line.StartsWith("Cpus_allowed_list:", StringComparison.Ordinal)) ?? "";
}
