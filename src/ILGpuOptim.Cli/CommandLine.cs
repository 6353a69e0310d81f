using System.CommandLine;
using System.Globalization;
using ILGpuOptim.Cli.Commands;

namespace ILGpuOptim.Cli;

/// <summary>The command line as a library call: a program can register its own optimizers first and use every command with them.</summary>
public static class CommandLine
{
    /// <summary>Runs one command; output goes to the console.</summary>
    /// <param name="args">The arguments after <c>ilgpuoptim</c>, such as <c>"check", "mine"</c>.</param>
    /// <returns>The exit code: 0 on success.</returns>
    public static int Run(params string[] args)
    {
        using IDisposable terminal = Terminal.Open();
        AppDomain.CurrentDomain.UnhandledException += EndAll;
        CultureInfo.DefaultThreadCurrentCulture = CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        try
        {
            // The parser would take the next argument as the value.
            if (args.TakeWhile(argument => argument != "--").FirstOrDefault(argument => argument.StartsWith("--", StringComparison.Ordinal) && argument.EndsWith('=') && !argument.Contains(' ')) is { } incomplete)
                throw new UserException($"{incomplete} has no value");
            ParseResult parsed = Parse(args);
            if (ParseErrors.FirstOf(parsed) is { } error)
                throw new UserException(error);

            // Commands handle Ctrl-C themselves: training saves a checkpoint first.
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

    /// <summary>Reports an error of another thread.</summary>
    private static void EndAll(object sender, UnhandledExceptionEventArgs arguments) =>
        Environment.Exit(Failure.Report(arguments.ExceptionObject as Exception ?? new InvalidOperationException($"{arguments.ExceptionObject}"), Console.Error));

    /// <summary>Parses a command line. Arguments that begin with @ are not response files.</summary>
    internal static ParseResult Parse(params string[] args) => Commands().Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });

    /// <summary>All commands.</summary>
    internal static RootCommand Commands()
    {
        RootCommand root = All();
        HelpPage.Install(root);
        ValueCompletions.AddTo(root);
        return root;
    }

    private static RootCommand All() =>
        new("Train small language models in C# with memory-efficient optimizers, without native dependencies. " +
            $"After an unexpected error, {Failure.DebugVariable}=1 prints the stack trace.")
        {
            TrainCommand.Create(),
            CompareCommand.Create(),
            WatchCommand.Create(),
            SampleCommand.Create(),
            ChatCommand.Create(),
            ServeCommand.Create(),
            EvalCommand.Create(),
            ImportCommand.Create(),
            ExportCommand.Create(),
            InfoCommand.Create(),
            MemoryCommand.Create(),
            OptimizersCommand.Create(),
            LearningRateCommand.Create(),
            DevicesCommand.Create(),
            DoctorCommand.Create(),
            MergeCommand.Create(),
            QuantizeCommand.Create(),
            CheckCommand.Create(),
            KernelsCommand.Create(),
            ProfileCommand.Create(),
            TuneCommand.Create(),
            TokenizerCommand.Create(),
            PrepareCommand.Create(),
            VerifyCommand.Create(),
            CompletionCommand.Create(),
        };
}
