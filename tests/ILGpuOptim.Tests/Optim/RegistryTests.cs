using System.Text.RegularExpressions;
using System.Xml.Linq;
using ILGpuOptim.Compute;
using ILGpuOptim.Lab;
using ILGpuOptim.Optim;
using ILGpuOptim.Tests.Training;

namespace ILGpuOptim.Tests.Optim;

/// <summary>What a registered optimizer owes: a recorded trajectory, a resumed run, a memory formula and its documentation.</summary>
public partial class RegistryTests
{
    private static readonly Lazy<HashSet<string>> Recorded = new(() => [.. Goldens.Optimizers.SelectMany(folder => GoldenCase.ReadAll(Goldens.Folder(folder))).Select(golden =>
    {
        using (golden)
        using (Optimizer optimizer = GoldenOptimizers.Create(golden))
            return optimizer.Name;
    })]);

    public static TheoryData<string> Names => new(Registry.Entries.Select(entry => entry.Name));

    [Theory]
    [MemberData(nameof(Names))]
    public void OwesNothing(string name)
    {
        string[] missing = [.. Missing(Registry.Find(name))];
        Assert.True(missing.Length == 0, $"{name} lacks {string.Join("; ", missing)}");
    }

    /// <summary>The lists of the tests are written by hand: an optimizer that leaves the registry, or that enters it alone, is noticed.</summary>
    [Fact]
    public void TheRegistryHoldsWhatTheTestsList()
    {
        string[] registered = [.. Registry.Entries.Select(entry => entry.Name).Order(StringComparer.Ordinal)];
        Assert.Equal(StateFormulas.ByName.Keys.Order(StringComparer.Ordinal), registered);
        Assert.Equal(ResumeTests.Optimizers.Select(row => row.Data.Item1).Order(StringComparer.Ordinal), registered);
        Assert.Equal(Recorded.Value.Order(StringComparer.Ordinal), registered);
    }

    /// <summary>For an entry with nothing of its own, every requirement is reported.</summary>
    [Fact]
    public void WhatIsMissingIsNamed()
    {
        var entry = new OptimizerEntry("newcomer", "without anything", _ => new Newcomer());
        Assert.Equal(5, Missing(entry).Count());
    }

    private static IEnumerable<string> Missing(OptimizerEntry entry)
    {
        if (!Recorded.Value.Contains(entry.Name))
            yield return "a recorded trajectory: add a case of its reference to Goldens/optimizers-2, or cases to Goldens/optimizers-more/cases.py, and its name to GoldenOptimizers";
        if (!ResumeTests.Optimizers.Any(row => row.Data.Item1 == entry.Name))
            yield return "a resumed run in ResumeTests";
        if (!StateFormulas.ByName.ContainsKey(entry.Name))
            yield return "a memory formula in StateFormulas";
        string root = ArchitectureTests.FindRoot();
        if (!File.ReadAllText(Path.Combine(root, "docs", "optimizers.md")).Contains($"\n| {entry.Name} |", StringComparison.Ordinal))
            yield return "a row in the state table of docs/optimizers.md";
        using Optimizer optimizer = entry.Create(StateStorage.F32);
        if (!Year().IsMatch(Documentation(optimizer.GetType())))
            yield return "XML documentation of its class that names a source with its year";
    }

    /// <summary>The text about a class, as the compiler wrote it beside the assembly.</summary>
    private static string Documentation(Type type)
    {
        string path = Path.Combine(AppContext.BaseDirectory, type.Assembly.GetName().Name + ".xml");
        return !File.Exists(path) ? "" : XDocument.Load(path)
            .Descendants("member").FirstOrDefault(member => (string?)member.Attribute("name") == $"T:{type.FullName}")?.Value ?? "";
    }

    [GeneratedRegex(@"\b(19|20)\d\d\b")]
    private static partial Regex Year();

    private sealed class Newcomer : Optimizer<OptimizerOptions>
    {
        public override string Name => "newcomer";

        protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, OptimizerOptions options) => [];

        protected override void Update(in ParameterUpdate update, OptimizerOptions options)
        {
        }
    }
}
