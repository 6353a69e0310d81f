using System.CommandLine;
using System.Globalization;
using ILGpuOptim;
using ILGpuOptim.Cli.Commands;
using ILGpuOptim.Compute;

CultureInfo.DefaultThreadCurrentCulture = CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
var root = new RootCommand("Train small language models in C# with memory-efficient optimizers; nothing native to install.")
{
    TrainCommand.Create(),
    CompareCommand.Create(),
    SampleCommand.Create(),
    EvalCommand.Create(),
    Llama2CCommands.CreateImport(),
    Llama2CCommands.CreateExport(),
    InfoCommand.Create(),
    MemoryCommand.Create(),
    DevicesCommand.Create(),
    DoctorCommand.Create(),
    MergeCommand.Create(),
    KernelsCommand.Create(),
    TuneCommand.Create(),
    TokenizerCommand.Create(),
    PrepareCommand.Create(),
    VerifyCommand.Create(),
};

try
{
    // Ctrl-C is the commands' own affair: training saves a checkpoint first.
    return root.Parse(args).Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
}
catch (Exception e) when (e is UserException || Devices.Explain(e) is not null)
{
    Console.Error.WriteLine($"error: {Devices.Explain(e) ?? e.Message}");
    return 1;
}
