using System.Text.Json;
using ILGpuOptim.Compute;
using ILGpuOptim.Lab;

namespace ILGpuOptim.Tests.Optim;

/// <summary>
/// Every recorded trajectory, on the processor and through the scalar oracle: those of the reference optimizers in <c>optimizers</c> and
/// <c>optimizers-2</c>, and those that <c>optimizers-more/make.py</c> makes with torch.optim and with the equations in float64.
/// </summary>
public class OptimizerGoldenTests
{
    public static TheoryData<string, string, string> Rows => new(
        from folder in Goldens.Optimizers from entry in GoldenCase.ReadIndex(Goldens.Folder(folder)) from device in (string[])["cpu", "reference"] select (folder, GoldenCase.TitleOf(entry), device));

    [Theory]
    [MemberData(nameof(Rows))]
    public void Replays(string folder, string title, string deviceName)
    {
        using Device device = deviceName == "cpu" ? new CpuDevice(2) : new ReferenceDevice();
        JsonElement entry = GoldenCase.ReadIndex(Goldens.Folder(folder)).Single(entry => GoldenCase.TitleOf(entry) == title);
        using GoldenCase golden = GoldenCase.Open(Goldens.Folder(folder), entry);
        Check check = OptimizerVerification.Run(golden, device);
        Assert.True(check.Passes, $"{check.Name}: {check.Error:E2} of its bound, {check.Note}");
    }
}
