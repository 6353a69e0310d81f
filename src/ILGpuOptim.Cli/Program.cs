using System.CommandLine;
using System.Globalization;
using ILGpuOptim;
using ILGpuOptim.Cli.Commands;
using ILGpuOptim.Compute;

CultureInfo.DefaultThreadCurrentCulture = CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
var root = new RootCommand("Train small language models in C# with memory-efficient optimizers; nothing native to install.")
{
    TrainCommand.Create(),
    SampleCommand.Create(),
    EvalCommand.Create(),
    InfoCommand.Create(),
    DevicesCommand.Create(),
    VerifyCommand.Create(),
};

try
{
    // Ctrl-C is the commands' own affair: training saves a checkpoint first.
    return root.Parse(args).Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
}
catch (Exception e) when (e is UserException or DeviceMemoryException)
{
    Console.Error.WriteLine($"error: {e.Message}");
    return 1;
}
