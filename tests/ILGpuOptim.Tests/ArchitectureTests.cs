using System.Reflection;
using System.Text.RegularExpressions;
using ILGpuOptim.Cli;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Distributed;
using ILGpuOptim.Extensions.AI;
using ILGpuOptim.Lab;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Tests;

/// <summary>The rules that keep the code readable, held by reading it.</summary>
public partial class ArchitectureTests
{
    private static readonly string Root = FindRoot();

    /// <summary>The project's assemblies, each above those that it may use.</summary>
    private static readonly Assembly[] Layers = [Assembly.Load("ILGpuOptim.Cli"), typeof(CommandLine).Assembly, typeof(DataPackage).Assembly, typeof(MpiCommunicator).Assembly, typeof(Check).Assembly, typeof(ModelChatClient).Assembly, typeof(LanguageModel).Assembly, typeof(Device).Assembly];

    [Fact]
    public void ReferencesPointDownwardsOnly()
    {
        for (int i = 0; i < Layers.Length; i++)
        {
            string[] above = [.. Layers.Take(i).Select(assembly => assembly.GetName().Name!)];
            Assert.DoesNotContain(Layers[i].GetReferencedAssemblies(), name => above.Contains(name.Name));
        }
    }

    /// <summary>A project that the list above lacks would not be held.</summary>
    [Fact]
    public void EveryProjectHasItsLayer() => Assert.Equal(
        Directory.EnumerateFiles(Path.Combine(Root, "src"), "*.csproj", SearchOption.AllDirectories).Select(Path.GetFileNameWithoutExtension).Order(StringComparer.Ordinal),
        Layers.Select(assembly => assembly.GetName().Name).Order(StringComparer.Ordinal));

    /// <summary>The namespaces of the library form layers: each uses only those below it. A nested namespace belongs to its parent.</summary>
    [Fact]
    public void NamespacesHaveNoCircles()
    {
        var uses = new Dictionary<string, HashSet<string>>();
        var sites = new Dictionary<(string From, string To), string>();
        string folder = Path.Combine(Root, "src", "ILGpuOptim") + Path.DirectorySeparatorChar;
        foreach (string file in Sources().Where(file => file.StartsWith(folder, StringComparison.Ordinal)))
        {
            string code = Comment().Replace(File.ReadAllText(file), "");
            string from = LibraryNamespace().Match(code).Groups[1].Value;
            IEnumerable<string> used = LibraryUsing().Matches(code).Select(match => match.Groups[1].Value)
                .Concat(QualifiedName().Matches(code).Where(match => TypeNames.Contains(match.Value)).Select(match => match.Groups[1].Value));

            // The enclosing namespace is in scope without a directive.
            foreach (string to in used.Append("").Where(to => to != from && to != "Compute"))
            {
                uses.TryAdd(from, []);
                uses[from].Add(to);
                sites[(from, to)] = Path.GetFileName(file);
            }
        }

        while (uses.Keys.FirstOrDefault(name => !uses[name].Any(uses.ContainsKey) || !uses.Values.Any(used => used.Contains(name))) is { } end)
            uses.Remove(end);
        Assert.True(uses.Count == 0, "circles: " + string.Join(", ", sites.Where(site => uses.ContainsKey(site.Key.From) && uses.ContainsKey(site.Key.To))
            .Select(site => $"{Name(site.Key.From)} → {Name(site.Key.To)} ({site.Value})")));

        static string Name(string below) => below.Length == 0 ? "ILGpuOptim" : below;
    }

    /// <summary>The library's types as code in an enclosing namespace may name them: <c>Models.ModelConfig</c>.</summary>
    private static readonly HashSet<string> TypeNames =
        [.. typeof(LanguageModel).Assembly.GetTypes().Select(type => TypeName().Match(type.FullName!)).Where(match => match.Success).Select(match => $"{match.Groups[1].Value}.{match.Groups[2].Value}")];

    [Fact]
    public void IlgpuStaysInItsFolder() => Assert.All(
        Sources().Where(file => !file.Replace('\\', '/').Contains("/Devices/Gpu/", StringComparison.Ordinal)),
        file => Assert.DoesNotMatch(IlgpuUse(), File.ReadAllText(file)));

    [Fact]
    public void NativeCodeIsTheSystemsAlone() => Assert.All(
        Sources().SelectMany(file => DllImport().Matches(File.ReadAllText(file))),
        match => Assert.Equal("libc", match.Groups[1].Value));

    /// <summary>The library names settings (<see cref="UserException.NamingSettings"/>); the tool shows them as flags.</summary>
    [Fact]
    public void TheToolAloneNamesFlags() => Assert.All(
        Sources().Where(file => !file.Replace('\\', '/').Contains("/ILGpuOptim.Cli/", StringComparison.Ordinal)),
        file => Assert.DoesNotMatch(FlagInText(), string.Join('\n', File.ReadLines(file).Where(line => !line.TrimStart().StartsWith("//", StringComparison.Ordinal)))));

    /// <summary>A bare <c>true</c> in a call says nothing: a choice is an init property or an enum. The messages name the constructors.</summary>
    [Fact]
    public void PublicConstructorsTakeNoBooleans() => Assert.Empty(
        Layers.SelectMany(assembly => assembly.GetExportedTypes()).SelectMany(type => type.GetConstructors(BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance))
            .Where(constructor => constructor.IsPublic || constructor.IsFamily || constructor.IsFamilyOrAssembly)
            .Where(constructor => constructor.GetParameters().Any(parameter => parameter.ParameterType == typeof(bool) || parameter.ParameterType == typeof(bool?)))
            .Select(constructor => $"{constructor.DeclaringType}({string.Join(", ", constructor.GetParameters().Select(parameter => parameter.Name))})"));

    [Fact]
    public void FilesTellOneStory() => Assert.All(Sources(), file => Assert.True(File.ReadLines(file).Count() <= 400, file));

    [Fact]
    public void NothingIsLeftUndone() => Assert.All(
        Sources(), file => Assert.DoesNotMatch(Unfinished(), File.ReadAllText(file)));

    [Fact]
    public void ProjectsReferenceManagedPackagesOnly() => Assert.All(
        Directory.EnumerateFiles(Path.Combine(Root, "src"), "*.csproj", SearchOption.AllDirectories),
        file => Assert.DoesNotMatch(NativePackage(), File.ReadAllText(file)));

    /// <summary>docs/optimizers.md has a row for each optimizer, with the state that its declaration makes of a matrix.</summary>
    [Fact]
    public void TheStateTableIsThatOfTheDeclarations()
    {
        string page = File.ReadAllText(Path.Combine(Root, "docs", "optimizers.md"));
        Assert.Contains(StateTable.Header, page, StringComparison.Ordinal);
        foreach (string row in Registry.Entries.Select(entry => StateTable.Row(entry)))
            Assert.True(page.Contains(row, StringComparison.Ordinal), $"docs/optimizers.md lacks this row:\n{row}");
    }

    private static IEnumerable<string> Sources() =>
        Directory.EnumerateFiles(Path.Combine(Root, "src"), "*.cs", SearchOption.AllDirectories)
            .Where(file => !Path.GetRelativePath(Root, file).Split(Path.DirectorySeparatorChar).Any(part => part is "bin" or "obj"));

    internal static string FindRoot()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "ILGpuOptim.sln")))
            folder = Path.GetDirectoryName(folder);
        return folder ?? throw new InvalidOperationException("the tests run outside the repository");
    }

    [GeneratedRegex("\"[^\"\n]*--[a-z]")]
    private static partial Regex FlagInText();

    [GeneratedRegex(@"\bILGPU\.(?!\w*Optim)|using ILGPU\b")]
    private static partial Regex IlgpuUse();

    [GeneratedRegex("DllImport\\(\"([^\"]*)\"")]
    private static partial Regex DllImport();

    [GeneratedRegex("TODO|FIXME|HACK|NotImplementedException")]
    private static partial Regex Unfinished();

    [GeneratedRegex("TorchSharp|libtorch|SkiaSharp|OnnxRuntime|MKL", RegexOptions.IgnoreCase)]
    private static partial Regex NativePackage();

    [GeneratedRegex(@"//.*|""(?:[^""\\\n]|\\.)*""")]
    private static partial Regex Comment();

    [GeneratedRegex(@"^namespace ILGpuOptim(?:\.(\w+))?", RegexOptions.Multiline)]
    private static partial Regex LibraryNamespace();

    [GeneratedRegex(@"^(?:global )?using (?:static )?(?:\w+ = )?ILGpuOptim\.(\w+)", RegexOptions.Multiline)]
    private static partial Regex LibraryUsing();

    [GeneratedRegex(@"(?<![\w.])([A-Z]\w+)\.([A-Z]\w+)")]
    private static partial Regex QualifiedName();

    [GeneratedRegex(@"^ILGpuOptim\.(\w+)(?:\.\w+)*?\.(\w+)")]
    private static partial Regex TypeName();
}
