using System.Reflection;
using System.Text.RegularExpressions;
using ILGpuOptim.Cli;
using ILGpuOptim.Compute;
using ILGpuOptim.Lab;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Tests;

/// <summary>The rules that keep the code readable, held by reading it.</summary>
public partial class ArchitectureTests
{
    private static readonly string Root = FindRoot();

    /// <summary>The project's assemblies, each above those that it may use.</summary>
    private static readonly Assembly[] Layers = [typeof(CommandLine).Assembly, typeof(Check).Assembly, typeof(LanguageModel).Assembly, typeof(Device).Assembly];

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

    [Fact]
    public void IlgpuStaysInItsFolder() => Assert.All(
        Sources().Where(file => !file.Replace('\\', '/').Contains("/Devices/Gpu/", StringComparison.Ordinal)),
        file => Assert.DoesNotMatch(IlgpuUse(), File.ReadAllText(file)));

    [Fact]
    public void NativeCodeIsTheSystemsAlone() => Assert.All(
        Sources().SelectMany(file => DllImport().Matches(File.ReadAllText(file))),
        match => Assert.Equal("libc", match.Groups[1].Value));

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
        foreach (string row in Registry.Entries.Select(StateTable.Row))
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

    [GeneratedRegex(@"\bILGPU\.(?!\w*Optim)|using ILGPU\b")]
    private static partial Regex IlgpuUse();

    [GeneratedRegex("DllImport\\(\"([^\"]*)\"")]
    private static partial Regex DllImport();

    [GeneratedRegex("TODO|FIXME|HACK|NotImplementedException")]
    private static partial Regex Unfinished();

    [GeneratedRegex("TorchSharp|libtorch|SkiaSharp|OnnxRuntime|MKL", RegexOptions.IgnoreCase)]
    private static partial Regex NativePackage();
}
