using ILGpuOptim.Compute;
using ILGpuOptim.Lab;
using ILGpuOptim.Models;

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
    [InlineData("bert-untied-own-bias")]
    [InlineData("roberta-untied-own-bias")]
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

    /// <summary>The head's bias is found again in a file that the library wrote.</summary>
    [Fact]
    public void AnUntiedHeadKeepsItsBias()
    {
        using var device = new CpuDevice(1);
        using var folder = new TemporaryFolder();
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("variants", "bert-untied-own-bias"), device);
        ModelFiles.Save(folder.Path, model);
        using LanguageModel again = ModelFiles.Load(folder.Path, device);
        Assert.Contains(again.Parameters, parameter => parameter.Name == "cls.predictions.decoder.bias");
        Assert.Equal(model.Parameters.Select(parameter => parameter.Name), again.Parameters.Select(parameter => parameter.Name));
        Assert.All(model.Parameters.Zip(again.Parameters), pair => Assert.Equal(pair.First.ToArray(), pair.Second.ToArray()));
    }

    private static void AssertAgrees(string folder, CpuDevice device)
    {
        IReadOnlyList<Check> checks = ModelVerification.Run(folder, device);
        Assert.NotEmpty(checks);
        Assert.All(checks, check => Assert.True(check.Passes, $"{check.Name}: {check.Error:E2}"));
    }
}
