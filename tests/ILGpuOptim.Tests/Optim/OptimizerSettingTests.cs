using System.Globalization;
using ILGpuOptim.Lab;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Optim;

/// <summary>Every choice that an optimizer has can be made by name, and none is ignored in silence.</summary>
public class OptimizerSettingTests
{
    public static TheoryData<string> Names => new(OptimizerSetting.All.Select(setting => setting.Name));

    /// <summary>Two values of a setting, from a label of <c>compare</c>, change the options of each optimizer that has it, and of no other.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void ReachesItsOptimizers(string name)
    {
        OptimizerSetting setting = OptimizerSetting.Find(name);
        OptimizerEntry[] owners = [.. Registry.Entries.Where(setting.IsOf)];
        string[] choices = setting.Values.Replace(" or ", ", ", StringComparison.Ordinal).Split(", ");
        string[] values = choices.Length > 1 ? choices[..2]
            : ((string[][])[["3", "5"], ["0.25", "0.5"], ["-0.5", "-0.25"]]).First(pair => owners.All(owner => pair.All(text => setting.RangeIn(owner)?.Contains(double.Parse(text, CultureInfo.InvariantCulture)) ?? true)));
        Assert.NotEmpty(owners);
        foreach (OptimizerEntry entry in owners)
        {
            OptimizerSettings[] settings = [.. values.Select(value => Candidate.Parse([$"{entry.Name}:{name}={value}"], [], new OptimizerSettings())[0].Optimizer)];
            Assert.NotEqual(settings[0], settings[1]);
            if (name is not ("weight_decay" or "state_type"))
                Assert.NotEqual(entry.OptionsOf(settings[0], "h.0.attn.weight", [15, 30]), entry.OptionsOf(settings[1], "h.0.attn.weight", [15, 30]));
        }

        foreach (OptimizerEntry entry in Registry.Entries.Except(owners))
        {
            OptimizerSettings foreign = new OptimizerSettings { Name = entry.Name }.With($"{name}={values[0]}");
            string message = Assert.Throws<UserException>(foreign.Check).Message;
            Assert.Contains($"{entry.Name} has no {name}", message, StringComparison.Ordinal);
            Assert.All(owners, owner => Assert.Contains(owner.Name, message, StringComparison.Ordinal));
            Assert.Contains(message, Assert.Throws<UserException>(() => Candidate.Parse([$"{entry.Name}:{name}={values[0]}"], [], new OptimizerSettings())).Message, StringComparison.Ordinal);
            Assert.Equal(message, Assert.Throws<UserException>(() => Registry.Create(foreign, [], out _)).Message);
            foreign.For(entry.Name).Check();
        }
    }

    /// <summary>What options have and no setting reaches is chosen by the optimizer's name, its group, or in code.</summary>
    [Fact]
    public void EveryOptionHasASetting()
    {
        string[] chosenOtherwise = ["LearningRate", "WeightDecay", "Maximize", "FixedDecay", "PreNormalizes", "Orthogonalises", "Blocks", "HeadLines"];
        foreach (OptimizerEntry entry in Registry.Entries)
        {
            string[] reached = [.. OptimizerSetting.All.Where(setting => setting.IsOf(entry)).SelectMany(setting => (string[])[setting.Alias, setting.Name.Replace("_", "", StringComparison.Ordinal)])];
            foreach (string option in entry.Options(new OptimizerSettings { Name = entry.Name }, true).GetType().GetProperties().Where(property => property.CanWrite).Select(property => property.Name).Except(chosenOtherwise))
                Assert.True(reached.Contains(option, StringComparer.OrdinalIgnoreCase), $"no setting reaches {option} of {entry.Name}");
        }
    }

    [Fact]
    public void TheDocumentationListsEverySetting()
    {
        string page = File.ReadAllText(Path.Combine(ArchitectureTests.FindRoot(), "docs", "optimizers.md"));
        Assert.All(OptimizerSetting.All, setting => Assert.Contains($"`{setting.Name}`", page, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("limiter=true", "is not a setting of an optimizer; did you mean")]
    [InlineData("rank", "rank has no value; write rank=VALUE, where VALUE is a whole number from 0")]
    [InlineData("rank=2.5", "rank 2.5: it must be a whole number from 0")]
    [InlineData("beta1=NaN", "beta1 NaN: it must be a number of at least 0 and below 1")]
    [InlineData("nesterov=1", "it must be true or false")]
    [InlineData("projection_type=up", "it must be std, reverse_std, left, right or full")]
    public void MistakesAreNamed(string assignment, string message) =>
        Assert.Contains(message, Assert.Throws<UserException>(() => new OptimizerSettings().With(assignment)).Message, StringComparison.Ordinal);

    [Fact]
    public void AFileThatNamesAnotherOptimizerKeepsNothingForeignOfThePreset()
    {
        Assert.Equal(0.99, TrainingSettings.Parse("{}").Optimizer.Beta2);
        OptimizerSettings sgd = TrainingSettings.Parse("""{"optimizer": {"name": "sgd", "nesterov": true}}""").Optimizer;
        Assert.Equal((null, true), (sgd.Beta2, sgd.Nesterov));
        sgd.Check();
        Assert.Contains("sgd has no rank", Assert.Throws<UserException>(TrainingSettings.Parse("""{"optimizer": {"name": "sgd", "rank": 2}}""").Optimizer.Check).Message);
        Assert.Throws<UserException>(() => TrainingSettings.Parse("""{"optimizer": {"nonsense": 2}}"""));
    }
}
