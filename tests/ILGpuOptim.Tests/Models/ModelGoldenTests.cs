using ILGpuOptim.Compute;
using ILGpuOptim.Lab;

namespace ILGpuOptim.Tests.Models;

public class ModelGoldenTests
{
    /// <summary>Every folder of recorded results; the oldest three with each width of vectors.</summary>
    public static TheoryData<string, int> Cases
    {
        get
        {
            var cases = new TheoryData<string, int>();
            foreach (string name in Directory.GetDirectories(Goldens.Folder("models")).Select(folder => Path.GetFileName(folder)!).Order(StringComparer.Ordinal))
            {
                foreach (int bits in name is "gpt2-tiny" or "llama-tiny" or "bert-tiny" ? (int[])[128, 256, 512] : [256])
                    cases.Add(name, bits);
            }

            return cases;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void AgreesWithPyTorch(string model, int vectorBits)
    {
        using var device = new CpuDevice(2, vectorBits);
        AssertAgrees(Goldens.Folder("models", model), device);
    }

    /// <summary>Other forms of the same models: what each is, its name says; the numbers come from PyTorch in double precision.</summary>
    [Theory]
    [InlineData("llama-mha-tied-headdim-llama3-bf16")]
    [InlineData("llama-gqa2-bias-f16-bare")]
    [InlineData("llama-gqa4-linear-shards")]
    [InlineData("gpt2-prefix-inner-f16")]
    [InlineData("bert-old-names-f16")]
    [InlineData("bert-segments-padding")]
    [InlineData("llama-dynamic-long-bf16")]
    [InlineData("phi3-partial-longrope-padding")]
    [InlineData("gpt_neox-sequential-yarn-padding")]
    [InlineData("gemma2-linear-long")]
    [InlineData("gemma3-two-rotations")]
    [InlineData("smollm3-window-documents-long")]
    [InlineData("t5-odd-buckets-bf16")]
    public void VariantsAgreeWithPyTorch(string model)
    {
        using var device = new CpuDevice(2);
        AssertAgrees(Goldens.Folder("variants", model), device);
    }

    private static void AssertAgrees(string folder, CpuDevice device)
    {
        IReadOnlyList<Check> checks = ModelVerification.Run(folder, device);
        Assert.NotEmpty(checks);
        Assert.All(checks, check => Assert.True(check.Passes, $"{check.Name}: {check.Error:E2}"));
    }
}
