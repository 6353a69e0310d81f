using System.CommandLine;
using System.Globalization;
using ILGpuOptim.Cli.Commands;

namespace ILGpuOptim.Cli;

/// <summary>The tool as a call: a program that adds an optimizer to the registry first has every command for it.</summary>
public static class CommandLine
{
    /// <summary>Runs one command; what it has to say goes to the console.</summary>
    /// <param name="args">As after <c>ilgpuoptim</c>: <c>"check", "mine"</c>.</param>
    /// <returns>The exit code: 0 when all went well.</returns>
    public static int Run(params string[] args)
    {
        using IDisposable terminal = Terminal.Open();
        AppDomain.CurrentDomain.UnhandledException += EndAll;
        CultureInfo.DefaultThreadCurrentCulture = CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        var root = new RootCommand("Train small language models in C# with memory-efficient optimizers; nothing native to install. " +
            $"After an unexpected error, {Failure.DebugVariable}=1 prints where it came from.")
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
            CheckCommand.Create(),
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
        catch (Exception e)
        {
            return Failure.Report(e, Console.Error);
        }
        finally
        {
            AppDomain.CurrentDomain.UnhandledException -= EndAll;
        }
    }

    /// <summary>An error on another thread.</summary>
    private static void EndAll(object sender, UnhandledExceptionEventArgs arguments) =>
        Environment.Exit(Failure.Report(arguments.ExceptionObject as Exception ?? new InvalidOperationException($"{arguments.ExceptionObject}"), Console.Error));
}
