using ILGpuOptim.Compute;
using ILGpuOptim.Verification;

namespace ILGpuOptim.Tests.Verification;

public class OptimizerVerificationTests
{
    /// <summary>Each optimizer follows its reference through sixty steps, in every recorded setting.</summary>
    [Fact]
    public void EveryRecordedTrajectoryReplays()
    {
        using var device = new CpuDevice();
        IReadOnlyList<Check> checks = OptimizerVerification.Run(Goldens.Folder("optimizers"), device);
        Assert.Equal(39, checks.Count);
        string[] misses = [.. checks.Where(check => !check.Passes).Select(check => check.ToString())];
        Assert.Empty(misses);
    }
}
