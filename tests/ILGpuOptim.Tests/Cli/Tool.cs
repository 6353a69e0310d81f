using System.Diagnostics;
using System.Text;

namespace ILGpuOptim.Tests.Cli;

/// <summary>What a process of the tool left.</summary>
internal sealed record Outcome(int Code, string Output, string Error);

/// <summary>Runs the tool in a process of its own.</summary>
internal static class Tool
{
    public static Outcome Run(params string[] arguments) => Run(AppContext.BaseDirectory, arguments);

    public static Outcome Run(string folder, string[] arguments) => Finish(Start(folder, arguments));

    /// <summary>With one more environment variable.</summary>
    public static Outcome Run((string Name, string Value) variable, params string[] arguments) => Finish(Start(AppContext.BaseDirectory, arguments, variable));

    /// <summary>With text on standard input.</summary>
    public static Outcome RunWithInput(string input, params string[] arguments) => Finish(Start(AppContext.BaseDirectory, arguments, redirectsInput: true), input);

    private static Outcome Finish(Process started, string? input = null)
    {
        using Process process = started;
        if (input is not null)
        {
            process.StandardInput.Write(input);
            process.StandardInput.Close();
        }

        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return new Outcome(process.ExitCode, output, error.Result);
    }

    public static Process Start(string folder, string[] arguments, (string Name, string Value)? variable = null, bool redirectsInput = false)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "ILGpuOptim.Cli.dll"), .. arguments])
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardOutputEncoding = Encoding.UTF8,
            StandardErrorEncoding = Encoding.UTF8,
            RedirectStandardInput = redirectsInput,
            StandardInputEncoding = redirectsInput ? new UTF8Encoding(false) : null,
        };
        if (variable is var (name, value))
            start.Environment[name] = value;
        return Process.Start(start)!;
    }
}
