using ILGpuOptim.Lab;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Tests.Lab;

/// <summary>What <c>--optimizers</c> and <c>--lr</c> mean.</summary>
public class CandidateTests
{
    private static readonly OptimizerSettings Start = new OptimizerSettings().With("beta1", 0.8);
    private static readonly OptionValues Shared = new OptimizerSettings().With("beta2", 0.98).With("rank", 16).Options;

    [Fact]
    public void NamesRatesAndSettingsOfOne()
    {
        IReadOnlyList<Candidate> all = Candidate.Parse(["AdamW, came:beta2=0.999:weight-decay=0", "apollo", "apollo:rank=8,apollo-mini"], ["apollo=1e-2", "3e-3,1e-3,3e-3", "apollo:rank=8=0.5"], Start, Shared);
        Assert.Equal(["adamw", "came:beta2=0.999:weight-decay=0", "apollo", "apollo:rank=8", "apollo-mini"], all.Select(item => item.Label));
        Assert.Equal([1e-3, 3e-3], all[0].Rates);
        Assert.Equal([1e-2], all[2].Rates);
        Assert.Equal([0.5], all[3].Rates);
        Assert.Equal(("0.999", 0.0), (all[1].Optimizer["beta2"], all[1].Optimizer.WeightDecay));
        Assert.Equal(["0.98", "0.98"], [all[0].Optimizer["beta2"], all[2].Optimizer["beta2"]]);
        Assert.Equal(["0.8", null], [all[0].Optimizer["beta1"], all[1].Optimizer["beta1"]]);
        Assert.Equal(["16", "8", null], [all[2].Optimizer["rank"], all[3].Optimizer["rank"], all[4].Optimizer["rank"]]);
        Assert.Equal("came-beta2-0.999-weight-decay-0", all[1].FileName);
    }

    [Fact]
    public void TheDefaultRatesLieAroundTheRecommendedOne()
    {
        Assert.Equal([2e-4, 7e-4, 2e-3], Candidate.Parse(["came"], [], Start)[0].Rates);
        Assert.Equal([3e-4, 1e-3, 3e-3], Candidate.DefaultRates("adamw"));
    }

    /// <summary>A folder's name has at most 255 characters.</summary>
    [Fact]
    public void LongLabelsGiveDifferentShortNames()
    {
        string[] labels = [.. new[] { "0.001", "0.002" }.Select(decay => $"adamw+cautious+rms-clip+trust-ratio+growth-limit:{string.Join(':', Enumerable.Repeat("beta1=0.9", 12))}:weight_decay={decay}")];
        string[] names = [.. labels.Select(label => new Candidate(label, Start, [1e-3]).FileName)];
        Assert.NotEqual(names[0], names[1]);
        Assert.All(names, name => Assert.InRange(name.Length, 1, 120));
    }

    [Theory]
    [InlineData("--optimizers adamw,,came: nothing stands between two commas", "adamw,,came", "1e-3")]
    [InlineData("--lr 1e-3, ,3e-3: nothing stands between two commas", "adamw", "1e-3, ,3e-3")]
    [InlineData("did you mean adamw", "adamww", "1e-3")]
    [InlineData("names no optimizer", " , ", "1e-3")]
    [InlineData("is named twice", "adamw,AdamW", "1e-3")]
    [InlineData("--lr fast: it must be a number above 0", "adamw", "fast")]
    [InlineData("--lr -1:", "adamw", "-1")]
    [InlineData("--lr NaN:", "adamw", "NaN")]
    [InlineData("names no learning rate", "adamw", ",")]
    [InlineData("there is no came among", "adamw", "came=1e-3")]
    [InlineData("\"rnk\" is not a setting", "apollo:rnk=8", "1e-3")]
    [InlineData("apollo:rank: rank has no value; write rank=VALUE, where VALUE is a whole number from 1", "apollo:rank", "1e-3")]
    [InlineData("came:rank=2: came has no rank; leave it out, or use dion, galore, fira, apollo, apollo-mini", "came:rank=2", "1e-3")]
    [InlineData("rank many: it must be a whole number", "apollo:rank=many", "1e-3")]
    public void MistakesAreNamed(string message, string optimizers, string rates) =>
        Assert.Contains(message, Assert.Throws<UserException>(() => Candidate.Parse([optimizers], [rates], Start, Shared)).InFlags(), StringComparison.Ordinal);
}
