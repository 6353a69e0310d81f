using System.Text.Json;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Verification;

/// <summary>Our optimizers under the names and settings that the recorded trajectories use.</summary>
internal static class GoldenOptimizers
{
    /// <summary>The optimizer of a case with what turns a group's settings into options; null when there is none.</summary>
    public static (Optimizer? Optimizer, Func<JsonElement, OptimizerOptions> Options) Create(GoldenCase golden) => golden.Optimizer switch
    {
        "sgd" => (new Sgd(), hyper => Common(hyper, new SgdOptions
        {
            Momentum = Number(hyper, "momentum"),
            Dampening = Number(hyper, "dampening"),
            Nesterov = Flag(hyper, "nesterov"),
        })),
        "adam" => (new Adam(), hyper => Common(hyper, Betas(hyper, new AdamOptions()))),
        "adamw" => (new AdamW(), hyper => Common(hyper, Betas(hyper, new AdamOptions()))),
        "came" => (new Came(), hyper => Common(hyper, new CameOptions
        {
            Beta1 = hyper.GetProperty("betas")[0].GetDouble(),
            Beta2 = hyper.GetProperty("betas")[1].GetDouble(),
            Beta3 = hyper.GetProperty("betas")[2].GetDouble(),
            Epsilon1 = hyper.GetProperty("eps")[0].GetDouble(),
            Epsilon2 = hyper.GetProperty("eps")[1].GetDouble(),
            ClipThreshold = Number(hyper, "clip_threshold", 1),
        })),
        "galore" => (new GaLore(), hyper => Common(hyper, Rank(hyper, new GaLoreOptions { Scale = Number(hyper, "scale", 1) }))),
        "fira" => (new Fira(), hyper => Common(hyper, Rank(hyper, new FiraOptions { Alpha = Number(hyper, "alpha", 1) }))),
        "apollo" or "apollo_mini" => (new Apollo(golden.Optimizer == "apollo_mini"), hyper => Common(hyper, Rank(hyper, new ApolloOptions
        {
            Scale = Number(hyper, "scale", 1),
            ScaleType = Text(hyper, "scale_type") == "tensor" ? ScaleType.Tensor : ScaleType.Channel,
            ScaleFront = Flag(golden.InstanceOptions, "scale_front"),
            DisableLimiter = Flag(golden.InstanceOptions, "disable_nl"),
        }))),
        _ => (null, _ => new OptimizerOptions()),
    };

    private static T Common<T>(JsonElement hyper, T options) where T : OptimizerOptions =>
        options with { LearningRate = Number(hyper, "lr"), WeightDecay = Number(hyper, "weight_decay") };

    private static T Betas<T>(JsonElement hyper, T options) where T : AdamOptions => options with
    {
        Beta1 = hyper.GetProperty("betas")[0].GetDouble(),
        Beta2 = hyper.GetProperty("betas")[1].GetDouble(),
        Epsilon = Number(hyper, "eps"),
    };

    private static T Rank<T>(JsonElement hyper, T options) where T : LowRankOptions => Betas(hyper, options) with
    {
        Rank = (int)Number(hyper, "rank"),
        UpdateProjectionGap = (int)Number(hyper, "update_proj_gap", 200),
        CorrectBias = !hyper.TryGetProperty("correct_bias", out _) || Flag(hyper, "correct_bias"),
        Basis = Text(hyper, "proj") switch
        {
            "random" => ProjectionBasis.Random,
            "svd" => ProjectionBasis.Svd,
            _ => options.Basis,
        },
        ProjectionType = Text(hyper, "proj_type") switch
        {
            "reverse_std" => ProjectionType.ReverseStd,
            "left" => ProjectionType.Left,
            "right" => ProjectionType.Right,
            "full" => ProjectionType.Full,
            _ => ProjectionType.Std,
        },
    };

    private static double Number(JsonElement hyper, string name, double otherwise = 0) =>
        hyper.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : otherwise;

    private static bool Flag(JsonElement hyper, string name) => hyper.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.True;

    private static string? Text(JsonElement hyper, string name) => hyper.TryGetProperty(name, out JsonElement value) ? value.GetString() : null;
}
