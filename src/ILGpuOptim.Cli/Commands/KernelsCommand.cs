using System.CommandLine;
using ILGpuOptim.Compute;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>kernels</c>: what an optimizer's rules become on a GPU.</summary>
internal static class KernelsCommand
{
    public static Command Create()
    {
        var optimizer = new Argument<string>("optimizer") { Description = "its name, as for train" };
        var target = new Option<string>("--target") { Description = "ptx or opencl", DefaultValueFactory = _ => "ptx" };
        var architecture = new Option<int>("--arch") { Description = "compute capability for ptx, such as 70, 80 or 90", DefaultValueFactory = _ => 80 };
        var rows = new Option<int>("--rows") { Description = "rows of the matrix that is updated", DefaultValueFactory = _ => 768 };
        var columns = new Option<int>("--columns") { Description = "its columns", DefaultValueFactory = _ => 2304 };
        var list = new Option<bool>("--list") { Description = "only the kernels' names" };
        var command = new Command("kernels", "Print the fused GPU kernels that an optimizer becomes; needs no GPU.") { optimizer, target, architecture, rows, columns, list };
        command.SetAction(result =>
        {
            string kind = result.GetRequiredValue(target).ToLowerInvariant();
            if (!KernelRecorder.Targets.Contains(kind))
                throw new UserException($"--target {kind}: there are {string.Join(" and ", KernelRecorder.Targets)}");
            foreach ((string name, int size) in new[] { ("--rows", result.GetValue(rows)), ("--columns", result.GetValue(columns)) })
            {
                if (size is < 1 or > 1 << 16)
                    throw new UserException($"{name} {size}: it must lie between 1 and 65536");
            }

            if (result.GetValue(architecture) is not (>= 50 and <= 90))
                throw new UserException($"--arch {result.GetValue(architecture)}: compute capabilities from 50 to 90 are known");
            IReadOnlyList<KernelSource> kernels = OptimizerKernels.Of(
                new OptimizerSettings { Name = result.GetRequiredValue(optimizer) }, result.GetValue(rows), result.GetValue(columns), kind, result.GetValue(architecture));
            foreach (KernelSource kernel in kernels)
            {
                Console.WriteLine($"// {kernel.Title}, groups of {kernel.Threads} threads");
                if (!result.GetValue(list))
                    Console.WriteLine(kernel.Text.Trim() + Environment.NewLine);
            }
        });
        return command;
    }
}
