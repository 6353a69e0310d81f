using System.Text;
using System.Text.RegularExpressions;
using ILGpuOptim.Compute;
using ILGpuOptim.Ops;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Lab;

/// <summary>The machine code of one loop of the CPU device.</summary>
/// <param name="Title">The method with its lane and rule.</param>
/// <param name="Instructions">The number of instructions.</param>
/// <param name="LaneCalls">
/// Calls of lane operations or rules, which ought to be instructions. Each passes vectors through memory: a loop with many takes 20 to 80 times as long.
/// </param>
/// <param name="StackAccesses">Instructions that move vectors between registers and the stack.</param>
/// <param name="Text">The listing.</param>
internal sealed record ProcessorKernel(string Title, int Instructions, int LaneCalls, int StackAccesses, string Text);

/// <summary>
/// Lists the machine code that the JIT compiler makes of rules for the CPU device. It reads the compiler's own listing, which an environment variable
/// switches on, so the loops run in a process of their own: start one with <see cref="Variables"/> that calls <see cref="Launch"/>. For x64 only.
/// </summary>
internal static partial class ProcessorKernels
{
    /// <summary>The environment variables of the process that launches the loops.</summary>
    /// <param name="file">Receives the listing.</param>
    public static IReadOnlyDictionary<string, string> Variables(string file) => new Dictionary<string, string>
    {
        ["DOTNET_JitDisasm"] = "ILGpuOptim.Compute.Cpu.*:*",
        ["DOTNET_JitStdOutFile"] = file,
        ["DOTNET_TieredCompilation"] = "0",
    };

    /// <summary>True in a process that was started with <see cref="Variables"/>.</summary>
    public static bool IsListing => Environment.GetEnvironmentVariable("DOTNET_JitStdOutFile") is { Length: > 0 };

    /// <summary>Launches the loops once in vectors of each width that this processor has.</summary>
    /// <param name="name">An optimizer, after whose name settings may follow; <c>models</c>: models, general operations, functions and attention; <c>all</c>: these and every optimizer.</param>
    /// <param name="rows">Rows of the updated matrix.</param>
    /// <param name="columns">Columns of the updated matrix.</param>
    /// <exception cref="UserException">There is no such optimizer.</exception>
    public static void Launch(string name, int rows, int columns)
    {
        OptimizerSettings[] optimizers = name == "models" ? [] : [.. (name == "all" ? Registry.Entries.Select(entry => entry.Name) : [name]).Select(KernelListing.SettingsOf)];
        foreach (int bits in (int[])[128, 256, 512])
        {
            using var device = new CpuDevice(1, bits);
            if (device.VectorBits != bits)
                continue;
            if (name is "all" or "models")
            {
                KernelListing.LaunchModels(device);
                OperationListing.Launch(device);
                AttentionListing.Launch(device);
                foreach (FunctionEntry entry in FunctionRegistry.Entries)
                    new FunctionRun(device, entry, FunctionRun.Points(entry.Arguments, 41, 2)).Dispose();
            }

            foreach (OptimizerSettings settings in optimizers)
                KernelListing.LaunchUpdate(device, Registry.Find(settings.Name), settings, rows, columns);
        }
    }

    /// <summary>Reads the loops over lanes in a listing, sorted by title.</summary>
    /// <param name="listing">What the process wrote.</param>
    public static IReadOnlyList<ProcessorKernel> Read(TextReader listing)
    {
        List<ProcessorKernel> kernels = [];
        var text = new StringBuilder();
        string title = "";
        int instructions = 0, calls = 0, stack = 0;
        for (string? line = listing.ReadLine(); ; line = listing.ReadLine())
        {
            bool begins = line?.StartsWith("; Assembly listing for method ", StringComparison.Ordinal) ?? true;
            if (begins && Lane().IsMatch(title))
                kernels.Add(new ProcessorKernel(Short(title), instructions, calls, stack, text.ToString()));
            if (line is null)
                return [.. kernels.OrderBy(kernel => kernel.Title, StringComparer.Ordinal)];
            if (begins)
            {
                title = line["; Assembly listing for method ".Length..];
                text.Clear();
                (instructions, calls, stack) = (0, 0, 0);
            }

            text.AppendLine(line);
            if (!Instruction().IsMatch(line))
                continue;
            instructions++;
            calls += IsLaneCall(title, line) ? 1 : 0;
            stack += StackAccess().IsMatch(line) ? 1 : 0;
        }
    }

    /// <summary>
    /// True for a call that takes or returns a lane or vector, and for one outside the device that is generic over a lane. The loops of rules call nothing.
    /// </summary>
    private static bool IsLaneCall(string title, string line)
    {
        Match call = Call().Match(line);
        return call.Success && (RuleLoop().IsMatch(title) || Vector().IsMatch(call.Groups["signature"].Value)
            || (!call.Groups["type"].Value.StartsWith("ILGpuOptim.Compute.Cpu", StringComparison.Ordinal) && Vector().IsMatch(call.Groups["type"].Value + call.Groups["method"].Value)));
    }

    /// <summary>The title without namespaces, arities and parameters.</summary>
    private static string Short(string title) => Namespace().Replace(title[..title.IndexOf('(', StringComparison.Ordinal)], "");

    [GeneratedRegex(@"^ILGpuOptim\.Compute\.Cpu\.(?!WorkerPool).*ILGpuOptim\.Compute\.F(1|4|8|16)[,\]]")]
    private static partial Regex Lane();

    [GeneratedRegex(@"CpuMapLoop`2\[.*:Run\(|CpuRowWork`2\[.*:(SumFirst|SumSecond|MapElements)\[")]
    private static partial Regex RuleLoop();

    [GeneratedRegex(@"^ {7}[a-z]")]
    private static partial Regex Instruction();

    [GeneratedRegex(@"\b[xyz]mm\d+.*\[r[bs]p[-+\]]|\[r[bs]p[-+\]].*\b[xyz]mm\d+")]
    private static partial Regex StackAccess();

    [GeneratedRegex(@"^\s+(call|(rex\.|tail\.)?jmp)\s+(\S+\s*; ?)?\[?(?<type>[^\s:()]+):(?<method>[^(]+)(?<signature>\(.*)$")]
    private static partial Regex Call();

    [GeneratedRegex(@"ILGpuOptim\.Compute\.(F1|F4|F8|F16|Dual)|System\.Runtime\.Intrinsics\.Vector")]
    private static partial Regex Vector();

    [GeneratedRegex(@"(\w+\.)+(?=\w)|`\d+")]
    private static partial Regex Namespace();
}
