using ILGpuOptim.Compute;
using ILGpuOptim.Verification;

namespace ILGpuOptim.Tests.Optim;

/// <summary>Every recorded trajectory of the reference optimizers, on the processor and through the scalar oracle.</summary>
public class OptimizerGoldenTests
{
    public static IEnumerable<TheoryDataRow<string, string>> Rows()
    {
        using var device = new CpuDevice(1);
        foreach (GoldenCase golden in GoldenCase.ReadAll(Goldens.Folder("optimizers")))
        {
            using (golden)
            {
                yield return new(golden.Name, "cpu");
                yield return new(golden.Name, "reference");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Rows))]
    public void Replays(string name, string deviceName)
    {
        using Device device = deviceName == "cpu" ? new CpuDevice(2) : new ReferenceDevice();
        IReadOnlyList<GoldenCase> cases = GoldenCase.ReadAll(Goldens.Folder("optimizers"));
        Check check = OptimizerVerification.Run(cases.Single(golden => golden.Name == name), device);
        foreach (GoldenCase golden in cases)
            golden.Dispose();
        Assert.True(check.Passes, $"{check.Name}: {check.Error:E2} of its bound, {check.Note}");
    }
}
