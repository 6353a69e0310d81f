using ILGpuOptim.Compute;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Optim;

/// <summary>Which parameters decay, which are trained at low rank, and at which rate, by the patterns of their names.</summary>
public class ParameterGroupTests
{
    private static readonly (string Name, int[] Shape)[] Model =
    [
        ("wte.weight", [11, 8]), ("h.0.ln_1.weight", [8]), ("h.0.attn.c_attn.weight", [8, 24]), ("h.0.attn.c_attn.bias", [24]), ("h.1.mlp.c_fc.weight", [8, 32]), ("lm_head.weight", [11, 8]),
    ];

    [Fact]
    public void MatricesDecayAndVectorsDoNot() => AssertGroups(
        new() { Name = "adamw", WeightDecay = 0.1 }, state => state.Options.WeightDecay == 0.1, "wte.weight", "h.0.attn.c_attn.weight", "h.1.mlp.c_fc.weight", "lm_head.weight");

    [Fact]
    public void NamedMatricesDoNotDecay() => AssertGroups(
        new() { Name = "adamw", WeightDecay = 0.1, NoDecay = ["wte*", "*head*"] }, state => state.Options.WeightDecay == 0.1, "h.0.attn.c_attn.weight", "h.1.mlp.c_fc.weight");

    [Theory]
    [InlineData("apollo")]
    [InlineData("galore")]
    [InlineData("fira")]
    public void AttentionAndMlpMatricesAreProjected(string name) => AssertGroups(
        new OptimizerSettings { Name = name }.With("rank", 2), state => ((LowRankOptions)state.Options).Rank == 2, "h.0.attn.c_attn.weight", "h.1.mlp.c_fc.weight");

    [Fact]
    public void ChosenMatricesAreProjected() => AssertGroups(
        new OptimizerSettings { Name = "apollo", LowRank = ["h.1.*"] }.With("rank", 2), state => ((LowRankOptions)state.Options).Rank == 2, "h.1.mlp.c_fc.weight");

    [Fact]
    public void MuonLeavesEmbeddingsHeadsAndVectorsToAdamW() => AssertGroups(
        new() { Name = "muon" }, state => ((MuonOptions)state.Options).Orthogonalises, "h.0.attn.c_attn.weight", "h.1.mlp.c_fc.weight");

    [Fact]
    public void RatesOfGroupsMultiply()
    {
        using var device = new CpuDevice(1);
        using Optimizer optimizer = Create(device, new() { Name = "adamw", LearningRate = 0.5, LearningRateFor = [new("h.*", 0.5), new("*.bias", 0)] }, out _);
        Assert.Equal([0.5, 0.25, 0.25, 0, 0.25, 0.5], optimizer.States.Select(state => state.Options.LearningRate));
    }

    [Fact]
    public void APatternThatNamesNothingIsAnError()
    {
        using var device = new CpuDevice(1);
        Assert.Contains("h.7.*", Assert.Throws<UserException>(() => Create(device, new() { Name = "adamw", LearningRateFor = [new("h.7.*", 2)] }, out _)).Message);
    }

    [Fact]
    public void GroupsHoldEveryParameterOnce()
    {
        using var device = new CpuDevice(1);
        using Optimizer optimizer = Create(device, new OptimizerSettings { Name = "apollo", NoDecay = ["wte*"] }.With("rank", 2), out IReadOnlyList<ParameterGroup> groups);
        Assert.Equal(Model.Select(parameter => parameter.Name).Order(), groups.SelectMany(group => group.Parameters).Select(parameter => parameter.Name).Order());
        Assert.Equal(3, groups.Count);
    }

    [Theory]
    [InlineData("AdamW", "there already is")]
    [InlineData("mine:too", "cannot be typed")]
    [InlineData("", "cannot be typed")]
    public void AnOptimizerNeedsANameOfItsOwn(string name, string message) =>
        Assert.Contains(message, Assert.Throws<UserException>(() => Registry.Add(new OptimizerEntry(name, "", _ => new AdamW()))).Message);

    private static void AssertGroups(OptimizerSettings settings, Func<ParameterState, bool> predicate, params string[] names)
    {
        using var device = new CpuDevice(1);
        using Optimizer optimizer = Create(device, settings, out _);
        Assert.Equal(names, optimizer.States.Where(predicate).Select(state => state.Parameter.Name));
    }

    private static Optimizer Create(Device device, OptimizerSettings settings, out IReadOnlyList<ParameterGroup> groups) =>
        Registry.Create(settings, [.. Model.Select(parameter => new Parameter(device, parameter.Name, parameter.Shape))], out groups);
}
