using System.Diagnostics;
using System.Runtime.InteropServices;
using ILGpuOptim.Cli.Commands;
using ILGpuOptim.Lab;

namespace ILGpuOptim.Cli;

/// <summary>Prints the machine code of the CPU device's loops. The tool runs itself once more, with the JIT compiler's listing switched on.</summary>
internal static class ProcessorKernelList
{
    /// <summary>Prints the loops and counts lane operations that remain calls.</summary>
    /// <returns>The exit code: 1 if a lane operation remains a call.</returns>
    public static int Print(string name, int rows, int columns, bool onlyNames, string? folder, bool json)
    {
        if (ProcessorKernels.IsListing)
        {
            ProcessorKernels.Launch(name, rows, columns);
            return 0;
        }

        if (RuntimeInformation.ProcessArchitecture != Architecture.X64)
            throw new UserException($"--target cpu: the listing is read for x64 only, and this process is {RuntimeInformation.ProcessArchitecture}");
        string file = Path.GetTempFileName();
        try
        {
            string[] arguments = Environment.GetCommandLineArgs();
            string program = Environment.ProcessPath!;
            var start = new ProcessStartInfo(program, Path.GetFileNameWithoutExtension(program) == "dotnet" ? arguments : arguments[1..]) { RedirectStandardOutput = true };
            foreach ((string variable, string value) in ProcessorKernels.Variables(file))
                start.Environment[variable] = value;
            using Process process = Process.Start(start)!;
            process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            if (process.ExitCode != 0)
                return process.ExitCode;
            using var listing = new StreamReader(file);
            IReadOnlyList<ProcessorKernel> kernels = ProcessorKernels.Read(listing);
            if (kernels.Count == 0)
                throw new UserException("--target cpu: the JIT compiler of this .NET runtime listed no loop");
            int calling = kernels.Count(kernel => kernel.LaneCalls > 0);
            if (!json)
                Console.WriteLine($"// {name}: {kernels.Count} loops of the CPU device, as x64 machine code; {(calling == 0 ? "no lane operation is a call" : $"lane operations are calls in {calling}")}");
            KernelsCommand.Print([.. kernels.Select(kernel => (Title(kernel), kernel.Text))], "s", onlyNames, folder, json);
            return calling == 0 ? 0 : 1;
        }
        finally
        {
            File.Delete(file);
        }
    }

    private static string Title(ProcessorKernel kernel) =>
        $"{kernel.Title}, {kernel.Instructions} instructions, lane operations that are calls: {kernel.LaneCalls}, vectors on the stack: {kernel.StackAccesses}";
}
