using System.Text.Json.Nodes;
using ILGpuOptim.Compute;
using ILGpuOptim.Lab;

namespace ILGpuOptim.Tests.Lab;

/// <summary>A case that cannot be replayed is one check that fails and says why; the others are replayed.</summary>
public class OptimizerVerificationTests
{
    [Theory]
    [InlineData("sgd/mom", "hyper.frobnicate", "true", "the setting frobnicate")]
    [InlineData("sgd/mom", "hyper.nesterov", "\"yes\"", "nesterov = \"yes\" instead of true or false")]
    [InlineData("sgd/mom", "hyper.momentum", "0", "has no state momentum_buffer")]
    [InlineData("sgd/mom", "hyper.nesterov", "true", "after step 1")]
    [InlineData("sgd/mom", "instance_options.sparse", "1", "the option sparse")]
    [InlineData("sgd/mom", "optimizer", "\"sgdd\"", "there is no such optimizer")]
    [InlineData("sgd/mom", "lr_schedule", "\"cosine\"", "lr_schedule = cosine")]
    [InlineData("sgd/mom", "init", "\"ones\"", "init = ones")]
    [InlineData("sgd/mom", "gradient.nan_steps", "[1]", "nan_steps")]
    [InlineData("sgd/mom", "file", "\"nothing.safetensors\"", "there is no such file")]
    [InlineData("galore/left", "hyper.proj_type", "\"diagonal\"", "proj_type = \"diagonal\"")]
    [InlineData("adam_mini/rows", "hyper.name", "3", "name = 3 instead of text")]
    [InlineData("adam_mini/rows", "hyper.name", "\"layers.0.attention.wq.bias\"", "v_mean")]
    [InlineData("galore/left", "hyper.rank", "2", "20 elements instead of 10")]
    public void WhatIsNotUnderstoodFailsWithItsName(string title, string path, string value, string message)
    {
        using var folder = new TemporaryFolder();
        string source = Goldens.Folder("optimizers-more");
        JsonNode index = JsonNode.Parse(File.ReadAllText(Path.Combine(source, "index.json")))!;
        JsonArray cases = index["cases"]!.AsArray();
        JsonNode[] kept = [.. cases.Where(entry => $"{entry!["optimizer"]}/{entry["case"]}" == title || (string?)entry["case"] == "amsgrad").Select(entry => entry!)];
        cases.Clear();
        foreach (JsonNode entry in kept)
        {
            cases.Add(entry);
            File.Copy(Path.Combine(source, (string)entry["file"]!), folder[(string)entry["file"]!]);
        }

        string[] parts = path.Split('.');
        JsonNode changed = kept.Single(entry => $"{entry["optimizer"]}/{entry["case"]}" == title);
        JsonNode holder = parts.Length == 1 ? changed : parts[0] == "hyper" ? changed["groups"]!.AsArray()[^1]!["hyper"]! : changed[parts[0]]!;
        holder[parts[^1]] = JsonNode.Parse(value);
        File.WriteAllText(folder["index.json"], index.ToJsonString());

        using var device = new CpuDevice(1);
        IReadOnlyList<Check> checks = OptimizerVerification.Run(folder.Path, device);
        Assert.Equal(3, checks.Count);
        Check failed = Assert.Single(checks, check => !check.Passes);
        Assert.Contains(message, failed.Note);
    }
}
