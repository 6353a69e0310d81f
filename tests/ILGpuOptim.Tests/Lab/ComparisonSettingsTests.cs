using ILGpuOptim.Lab;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Tests.Lab;

public class ComparisonSettingsTests
{
    [Fact]
    public void CandidatesAreCheckedWithTheirSettings()
    {
        var settings = new ComparisonSettings { Training = new TrainingSettings(), Candidates = [new Candidate("adamw", new OptimizerSettings { Name = "adamw", WeightDecay = -2 }, [1e-3])] };
        SettingException error = Assert.Throws<SettingException>(settings.Check);
        Assert.Equal("Candidates[0].Optimizer.WeightDecay", error.Path);
    }
}
