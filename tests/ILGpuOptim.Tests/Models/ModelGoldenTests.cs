using ILGpuOptim.Compute;
using ILGpuOptim.Verification;

namespace ILGpuOptim.Tests.Models;

public class ModelGoldenTests
{
    public static TheoryData<string, int> Cases => new(
        from model in new[] { "gpt2-tiny", "llama-tiny", "bert-tiny" } from bits in new[] { 128, 256, 512 } select (model, bits));

    [Theory]
    [MemberData(nameof(Cases))]
    public void AgreesWithPyTorch(string model, int vectorBits)
    {
        using var device = new CpuDevice(2, vectorBits);
        IReadOnlyList<Check> checks = ModelVerification.Run(Goldens.Folder("models", model), device);
        Assert.NotEmpty(checks);
        Assert.All(checks, check => Assert.True(check.Passes, $"{check.Name}: {check.Error:E2}"));
    }
}
