using ILGpuOptim.Lab;

namespace ILGpuOptim.Tests.Lab;

public class ModelGoldenReaderTests
{
    [Theory]
    [InlineData("gpt2-tiny", 2, 17, 101)]
    [InlineData("llama-tiny", 2, 19, 97)]
    [InlineData("bert-tiny", 3, 23, 89)]
    public void ReadsTheRecordedFolders(string name, int batch, int length, int vocabulary)
    {
        using var golden = new ModelGolden(Goldens.Folder("models", name));
        Assert.Equal(batch, golden.Batch);
        Assert.Equal(batch * length, golden.Tokens.Length);
        Assert.All(golden.Tokens, token => Assert.InRange(token, 0, vocabulary - 1));
        Assert.All(golden.Labels, label => Assert.InRange(label, -100, vocabulary - 1));
        Assert.Equal(batch * length * vocabulary, golden.Logits.Length);
        Assert.Equal(golden.Loss, golden.Losses[0], 1e-6);
        Assert.Equal(10, golden.Losses.Length);
        Assert.Equal(0.95, golden.Options.Beta2);
        Assert.Equal(0.1, golden.Options.WeightDecay);
        Assert.NotEmpty(golden.Parameters);
        Assert.All(golden.Parameters, parameter => Assert.NotEmpty(golden.Gradient(parameter)));
    }

    [Fact]
    public void WhatIsMissingIsNamed()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("expected.json", Assert.Throws<UserException>(() => new ModelGolden(folder.Path)).Message);
        File.WriteAllText(folder["expected.json"], """{"adamw":{"betas":[0.9]}}""");
        Assert.Contains("adamw.betas must have 2 values, not 1", Assert.Throws<UserException>(() => new ModelGolden(folder.Path)).Message);
        File.WriteAllText(folder["expected.json"], """{"loss":1}""");
        Assert.Contains("not the settings of a recorded model", Assert.Throws<UserException>(() => new ModelGolden(folder.Path)).Message);
        File.Copy(Goldens.Folder("models", "gpt2-tiny", "expected.json"), folder["expected.json"], overwrite: true);
        Assert.Contains("expected.safetensors", Assert.ThrowsAny<UserException>(() => new ModelGolden(folder.Path)).Message);
        File.Copy(Goldens.Folder("models", "gpt2-tiny", "model.safetensors"), folder["expected.safetensors"]);
        Assert.Contains("no tensor input_ids", Assert.ThrowsAny<UserException>(() => new ModelGolden(folder.Path)).Message);
    }

    [Fact]
    public void WhatWouldNotBeComparedIsRefusedByName()
    {
        using var folder = new TemporaryFolder();
        File.Copy(Goldens.Folder("models", "gpt2-tiny", "expected.json"), folder["expected.json"]);
        byte[] file = File.ReadAllBytes(Goldens.Folder("models", "gpt2-tiny", "expected.safetensors"));
        "hess."u8.CopyTo(file.AsSpan(file.AsSpan().IndexOf("grad.h.0.attn.c_attn.bias"u8)));
        File.WriteAllBytes(folder["expected.safetensors"], file);
        string message = Assert.ThrowsAny<UserException>(() => new ModelGolden(folder.Path)).Message;
        Assert.Contains("hess.h.0.attn.c_attn.bias cannot be compared", message, StringComparison.Ordinal);
        Assert.Contains("document_ids", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("\"note\"", "\"hessian\"", "hessian is not understood")]
    [InlineData("\"eps\"", "\"amsgrad\": true, \"eps\"", "adamw.amsgrad is not understood")]
    [InlineData("\"loss\"", "\"generation\": {\"beams\": 4}, \"loss\"", "generation.beams is not understood")]
    [InlineData("\"tensors of two or more dimensions\"", "\"all tensors\"", "adamw.decayed = \"all tensors\" is not supported")]
    public void UnknownFieldsAreRefusedByName(string present, string changed, string message)
    {
        using var folder = new TemporaryFolder();
        string text = File.ReadAllText(Goldens.Folder("models", "gpt2-tiny", "expected.json")), edited = text.Replace(present, changed, StringComparison.Ordinal);
        Assert.NotEqual(text, edited);
        File.WriteAllText(folder["expected.json"], edited);
        Assert.Contains(message, Assert.Throws<UserException>(() => new ModelGolden(folder.Path)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("modernbert-tiny")]
    [InlineData("t5v11-tiny")]
    [InlineData("qwen3_moe-tiny")]
    public void ReadsWhatAFamilyAdds(string name)
    {
        using var golden = new ModelGolden(Goldens.Folder("models", name));
        Assert.Equal(name != "qwen3_moe-tiny", golden.Mask.Contains(0));
        Assert.Equal(name == "t5v11-tiny" ? golden.Labels.Length : 0, golden.DecoderTokens.Length);
        Assert.Equal(name == "modernbert-tiny" ? 0 : 40, golden.Continuation.Length);
        Assert.Equal(name == "qwen3_moe-tiny", golden is { CrossEntropy: > 0, RouterLoss: > 0 });
    }
}
