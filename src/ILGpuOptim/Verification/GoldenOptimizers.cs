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
        "lamb_nv" => (new Lamb(), hyper => Common(hyper, Betas(hyper, new LambOptions
        {
            BiasCorrection = Flag(hyper, "bias_correction"),
            GradientAveraging = Flag(hyper, "grad_averaging"),
            MaxGradientNorm = Number(hyper, "max_grad_norm"),
            TrustClip = Flag(hyper, "trust_clip"),
            AlwaysAdapt = Flag(hyper, "always_adapt"),
        }))),
        "lamb_kozistr" => (new Lamb(), hyper => Common(hyper, Betas(hyper, new LambOptions
        {
            Form = LambForm.Collection,
            GradientAveraging = Flag(hyper, "grad_averaging"),
            MaxGradientNorm = 0,
        }))),
        "adafactor_torch" => (new Adafactor(), hyper => Common(hyper, new AdafactorOptions
        {
            Beta2Decay = Number(hyper, "beta2_decay", -0.8),
            Epsilon1 = Number(hyper.GetProperty("eps")[0], new AdafactorOptions().Epsilon1),
            Epsilon2 = hyper.GetProperty("eps")[1].GetDouble(),
            ClipThreshold = Number(hyper, "d", 1),
        })),
        "adafactor_hf" => (new AdafactorRelative(), hyper => Common(hyper, new AdafactorRelativeOptions
        {
            DecayRate = Number(hyper, "decay_rate", -0.8),
            Epsilon1 = hyper.GetProperty("eps")[0].GetDouble(),
            Epsilon2 = hyper.GetProperty("eps")[1].GetDouble(),
            ClipThreshold = Number(hyper, "clip_threshold", 1),
            Beta1 = hyper.GetProperty("beta1").ValueKind == JsonValueKind.Number ? hyper.GetProperty("beta1").GetDouble() : null,
            ScaleParameter = Flag(hyper, "scale_parameter"),
            RelativeStep = Flag(hyper, "relative_step"),
            WarmupInit = Flag(hyper, "warmup_init"),
        })),
        "muon_kj" or "muon_kozistr" => (new Muon(), hyper => Common(hyper, Muon(hyper, golden.Optimizer == "muon_kj"))),
        _ => (null, _ => new OptimizerOptions()),
    };

    private static T Common<T>(JsonElement hyper, T options) where T : OptimizerOptions =>
        options with { LearningRate = Number(hyper, "lr"), WeightDecay = Number(hyper, "weight_decay") };

    /// <summary>The flag <c>use_adjusted_lr</c> selects the original factor, against its own documentation.</summary>
    private static MuonOptions Muon(JsonElement hyper, bool isOriginal) => Flag(hyper, "use_muon")
        ? new MuonOptions
        {
            Momentum = Number(hyper, "momentum", 0.95),
            Nesterov = !hyper.TryGetProperty("nesterov", out _) || Flag(hyper, "nesterov"),
            Iterations = (int)Number(hyper, "ns_steps", 5),
            Scaling = isOriginal || Flag(hyper, "use_adjusted_lr") ? MuonScaling.Original : MuonScaling.Moonlight,
            AddsToNorm = isOriginal,
        }
        : Betas(hyper, new MuonOptions { Orthogonalises = false });

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

    private static double Number(JsonElement value, double otherwise) => value.ValueKind == JsonValueKind.Number ? value.GetDouble() : otherwise;

    private static bool Flag(JsonElement hyper, string name) => hyper.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.True;

    private static string? Text(JsonElement hyper, string name) => hyper.TryGetProperty(name, out JsonElement value) ? value.GetString() : null;
}
