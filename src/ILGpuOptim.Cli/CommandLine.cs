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
        try
        {
            ParseResult parsed = Parse(args);
            if (ParseErrors.FirstOf(parsed) is { } error)
                throw new UserException(error);

            // Ctrl-C is the commands' own affair: training saves a checkpoint first.
            return parsed.Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
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

    /// <summary>A command line as its parts; texts that begin with @ name no files of arguments.</summary>
    internal static ParseResult Parse(params string[] args) => Commands().Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });

    /// <summary>All commands, as one tree.</summary>
    internal static RootCommand Commands() =>
        new("Train small language models in C# with memory-efficient optimizers; nothing native to install. " +
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
}
