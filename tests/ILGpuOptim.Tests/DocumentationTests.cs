using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace ILGpuOptim.Tests;

/// <summary>
/// The C# of README.md, docs/ and the notebook of samples/ compiles, as one program per page. Blocks with "…" omit something and are not compiled. Pages whose program changes no
/// registry and writes no files are also run.
/// </summary>
public sealed partial class DocumentationTests : IDisposable
{
    private const string Usings = """
        using System.Runtime.CompilerServices;
        using ILGpuOptim;
        using ILGpuOptim.Compute;
        using ILGpuOptim.Generation;
        using ILGpuOptim.Files;
        using ILGpuOptim.Layers;
        using ILGpuOptim.Models;
        using ILGpuOptim.Ops;
        using ILGpuOptim.Optim;
        using ILGpuOptim.Training;
        """;

    private const string TapeLine = "using var tape = new Tape(device);\n";

    /// <summary>The variables that a page's snippets assume, declared after its tape, or at the start.</summary>
    private static readonly Dictionary<string, string> Given = new()
    {
        ["README.md"] = """
            var initializer = new Initializer(device, seed: 1);
            Parameter Made(string name, params int[] shape) { var made = new Parameter(device, name, shape); initializer.Fill(made, 0.5f, 0); return made; }
            Parameter weight = Made("weight", 4, 8), bias = Made("bias", 8), head = Made("head", 8, 1);
            using Optimizer optimizer = Registry.Create(new OptimizerSettings { Name = "came" }, [weight, bias, head], out _);
            Tensor y = tape.Arange(4);
            float[] inputs = new float[256], targets = new float[64];
            """,
        ["functions.md"] = """
            using var device = new CpuDevice();
            var tape = new Tape(device) { IsRecording = false };
            Tensor x = tape.Ones(3, 4), y = tape.Arange(4), weight = tape.Ones(5, 4), bias = tape.Ones(5), gate = tape.Ones(5, 4), up = tape.Ones(5, 4), packed = tape.Ones(3, 8);
            """,
        ["generation.md"] = """
            using var device = new CpuDevice();
            using LanguageModel model = new Gpt2Config { VocabularySize = 9, ContextLength = 8, Layers = 1, Heads = 1, HiddenSize = 4 }.Create(new Initializer(device, 1));
            int[] prompt = [1, 2], first = [3], second = [4, 5];
            """,
        ["distributed.md"] = """
            var settings = new TrainingSettings();
            """,
        ["export.md"] = """
            using var device = new CpuDevice();
            using LanguageModel model = new Gpt2Config { VocabularySize = 9, ContextLength = 8, Layers = 1, Heads = 1, HiddenSize = 4 }.Create(new Initializer(device, 1));
            ITokenizer? tokenizer = null;
            """,
    };

    private static readonly string[] Run = ["README.md", "autograd.md", "operations.md", "functions.md", "generation.md", "first-steps.ipynb"], CompileOnly = ["chat.md", "devices.md", "distributed.md", "export.md", "models.md"];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void EveryProgramCompilesAndRuns()
    {
        string root = ArchitectureTests.FindRoot();
        string[] pages = [Path.Combine(root, "README.md"), .. Directory.EnumerateFiles(Path.Combine(root, "docs"), "*.md").Order(StringComparer.Ordinal), .. Directory.EnumerateFiles(Path.Combine(root, "samples"), "*.ipynb")];
        Assembly programs = Compile([.. pages.Select(Program).OfType<string>()]);
        Assert.Equal(Run.Concat(CompileOnly).Select(NameOf).Order(), programs.GetTypes().Where(type => type.Name == "Program").Select(type => type.Namespace!).Order());
        foreach (string page in Run)
            programs.GetType($"{NameOf(page)}.Program", throwOnError: true)!.GetMethod("Run")!.Invoke(null, null);
    }

    /// <summary>The parts of the sample that its tutorial shows are those of the sample.</summary>
    [Fact]
    public void TheTutorialShowsItsSample()
    {
        string root = ArchitectureTests.FindRoot(), sample = Squeezed(File.ReadAllText(Path.Combine(root, "samples", "my-optimizer.cs")));
        string[] shown = [.. Blocks(Path.Combine(root, "docs", "adding-an-optimizer.md")).Where(block => !block.Contains('…', StringComparison.Ordinal))];
        Assert.Equal(4, shown.Length);
        Assert.All(shown, block => Assert.Contains(Squeezed(block), sample, StringComparison.Ordinal));
    }

    private static string Squeezed(string text) => Spaces().Replace(text, " ").Trim();

    private static IEnumerable<string> Blocks(string page) => page.EndsWith(".ipynb", StringComparison.Ordinal) ? Cells(page)
        : Fence().Matches(File.ReadAllText(page).ReplaceLineEndings("\n")).Select(match => match.Groups[1].Value);

    /// <summary>The code of a notebook, without the lines that name packages.</summary>
    private static IEnumerable<string> Cells(string notebook)
    {
        JsonElement root = JsonDocument.Parse(File.ReadAllText(notebook)).RootElement;
        Assert.Equal(4, root.GetProperty("nbformat").GetInt32());
        Assert.Equal("C#", root.GetProperty("metadata").GetProperty("kernelspec").GetProperty("language").GetString());
        JsonElement[] cells = [.. root.GetProperty("cells").EnumerateArray()];
        Assert.Equal(cells.Length, cells.Select(cell => cell.GetProperty("id").GetString()).Distinct().Count());
        return cells.Where(cell => cell.GetProperty("cell_type").GetString() == "code").Select(cell =>
            string.Concat(cell.GetProperty("source").EnumerateArray().Select(line => line.GetString()).Where(line => !line!.StartsWith("#r \"nuget: ILGpuOptim, ", StringComparison.Ordinal))));
    }

    private static string NameOf(string page) => "Page_" + Path.GetFileNameWithoutExtension(page).Replace('-', '_');

    /// <summary>A page's blocks: statements in their order within one method, then the types. Null for a page without any.</summary>
    private static string? Program(string path)
    {
        string page = Path.GetFileName(path);
        string[] blocks = page == "adding-an-optimizer.md" ? [] : [.. Blocks(path).Where(block => !block.Contains('…', StringComparison.Ordinal))];
        if (blocks.Length == 0)
            return null;
        var (usings, statements, types) = (new StringBuilder(Usings + "\n"), new StringBuilder(), new StringBuilder());
        foreach (string block in blocks)
        {
            bool isInType = false;
            foreach (string line in block.Split('\n'))
            {
                isInType |= TypeStart().IsMatch(line);
                if (UsingLine().IsMatch(line))
                    usings.Append(Usings.Contains(line.Split("//")[0].Trim(), StringComparison.Ordinal) ? "" : line + "\n");
                else
                    (isInType ? types : statements).Append(line).Append('\n');
                isInType &= line != "}";
            }
        }

        string body = statements.ToString(), given = Given.GetValueOrDefault(page, "") + "\n";
        int start = body.IndexOf(TapeLine, StringComparison.Ordinal) is >= 0 and var at ? at + TapeLine.Length : 0;
        return $$"""
            namespace {{NameOf(page)}}
            {
            {{usings}}
            internal static class Console { public static void Write(object value) { } public static void WriteLine(object value) { } }
            public static class Program { public static void Run() {
            {{body.Insert(start, given)}}
            } }
            {{types}}
            }
            """;
    }

    private Assembly Compile(string[] sources)
    {
        string runtime = Path.GetDirectoryName(typeof(object).Assembly.Location)!;
        string compiler = Directory.EnumerateFiles(Path.GetFullPath(Path.Combine(runtime, "..", "..", "..", "sdk")), "csc.dll", SearchOption.AllDirectories)
            .Last(file => file.Contains($"{Path.DirectorySeparatorChar}{Environment.Version.Major}.", StringComparison.Ordinal));
        string output = folder["documentation.dll"], response = folder["arguments.rsp"];
        string[] files = [.. sources.Select((source, i) =>
        {
            string file = folder[string.Create(CultureInfo.InvariantCulture, $"{i}.cs")];
            File.WriteAllText(file, source);
            return file;
        })];
        File.WriteAllText(folder["usings.cs"], string.Concat(((string[])["System", "System.Collections.Generic", "System.IO", "System.Linq", "System.Threading", "System.Threading.Tasks"]).Select(name => $"global using {name};\n")));
        IEnumerable<string> references = Directory.EnumerateFiles(runtime, "System*.dll").Concat(Directory.EnumerateFiles(AppContext.BaseDirectory, "ILGpuOptim*.dll"))
            .Concat(Directory.EnumerateFiles(AppContext.BaseDirectory, "Microsoft.Extensions.AI*.dll")).Where(IsManaged);
        File.WriteAllLines(response, ["-noconfig", "-nostdlib", "-nologo", "-target:library", "-langversion:preview", "-nullable:enable", $"-out:\"{output}\"", .. references.Select(file => $"-r:\"{file}\""), .. files.Append(folder["usings.cs"]).Select(file => $"\"{file}\"")]);
        using var process = Process.Start(new ProcessStartInfo("dotnet", [compiler, "@" + response]) { RedirectStandardOutput = true })!;
        string messages = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, messages);
        return Assembly.Load(File.ReadAllBytes(output));
    }

    private static bool IsManaged(string file)
    {
        try
        {
            AssemblyName.GetAssemblyName(file);
            return true;
        }
        catch (BadImageFormatException)
        {
            return false;
        }
    }

    [GeneratedRegex(@"^```csharp\n(.*?)^```", RegexOptions.Singleline | RegexOptions.Multiline)]
    private static partial Regex Fence();

    [GeneratedRegex(@"^(public |internal |private |sealed |static |readonly |abstract )*(class|struct|record|interface) |^/// ")]
    private static partial Regex TypeStart();

    [GeneratedRegex(@"^using [A-Za-z.]+;")]
    private static partial Regex UsingLine();

    [GeneratedRegex(@"\s+")]
    private static partial Regex Spaces();
}
