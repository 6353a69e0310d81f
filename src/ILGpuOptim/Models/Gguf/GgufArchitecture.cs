using ILGpuOptim.Layers;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Models;

/// <summary>A model architecture of llama.cpp, and what its computation allows.</summary>
/// <param name="Name">The value of <c>general.architecture</c>, with which the keys begin.</param>
internal sealed record GgufArchitecture(string Name)
{
    /// <summary>Rotary pairs are neighbours.</summary>
    public bool RotatesNeighbours { get; init; }

    /// <summary>Files have a head of their own even where it equals the token embedding.</summary>
    public bool NeedsHead { get; init; }

    /// <summary>The head size is always the hidden size divided by the heads.</summary>
    public bool DividesHeads { get; init; }

    /// <summary>Part of a head may be rotated.</summary>
    public bool RotatesPart { get; init; }

    /// <summary>Kinds of rotary scaling, by their names in <c>config.json</c>.</summary>
    public IReadOnlyList<string> Scalings { get; init; } = ["default", "linear", "yarn"];

    /// <summary>Biases of the attention projections are read.</summary>
    public bool HasAttentionBias { get; init; } = true;

    /// <summary>Biases of the feed-forward projections are read.</summary>
    public bool HasFeedForwardBias { get; init; }

    /// <summary>The activation of the feed-forward layers.</summary>
    public Activation Activation { get; init; } = Activation.Silu;

    /// <summary>Layers have a window by a period: all but the last of this many; null: the architecture has no windows.</summary>
    public int? WindowPeriod { get; init; }

    /// <summary>The computation soft-caps scores and logits, always.</summary>
    public bool HasCaps { get; init; }

    /// <summary>Layers, at which the architecture divides scores by √(hidden size / heads) instead of √head size; null: at none.</summary>
    public int? HiddenScaleLayers { get; init; }

    /// <summary>One layer of this many has no rotary positions; null: all have them.</summary>
    public int? PlainInterval { get; init; }

    /// <summary>The base of the rotary frequencies of layers with a window is stored.</summary>
    public bool HasWindowTheta { get; init; }

    private static readonly GgufArchitecture Llama = new("llama")
    {
        RotatesNeighbours = true,
        HasFeedForwardBias = true,
        Scalings = ["default", "linear", "yarn", "llama3"],
    };

    private static readonly GgufArchitecture Qwen3 = new("qwen3") { HasAttentionBias = false };

    private static readonly GgufArchitecture Gemma2 = new("gemma2")
    {
        HasAttentionBias = false,
        Activation = Activation.GeluTanh,
        WindowPeriod = 2,
        HasCaps = true,
        HiddenScaleLayers = 46,
        Scalings = ["default"],
    };

    /// <summary>The architectures by the <c>model_type</c> of <c>config.json</c>.</summary>
    public static IReadOnlyDictionary<string, GgufArchitecture> ByFamily { get; } = new Dictionary<string, GgufArchitecture>
    {
        ["gpt2"] = new("gpt2") { DividesHeads = true, HasFeedForwardBias = true, Activation = Activation.GeluTanh },
        ["gpt_neox"] = new("gptneox") { DividesHeads = true, NeedsHead = true, RotatesPart = true, HasFeedForwardBias = true, Activation = Activation.GeluTanh },
        ["llama"] = Llama,
        ["mistral"] = Llama,
        ["mixtral"] = Llama,
        ["qwen2"] = new("qwen2"),
        ["qwen3"] = Qwen3,
        ["qwen3_moe"] = Qwen3 with { Name = "qwen3moe" },
        ["gemma2"] = Gemma2,
        ["gemma3_text"] = Gemma2 with { Name = "gemma3", WindowPeriod = 6, HasCaps = false, HiddenScaleLayers = 62, HasWindowTheta = true, Scalings = ["default", "linear"] },
        ["phi3"] = new("phi3") { DividesHeads = true, RotatesPart = true, HasAttentionBias = false, Scalings = ["default", "longrope"] },
        ["olmo2"] = new("olmo2") { DividesHeads = true, NeedsHead = true, HasAttentionBias = false },
        ["smollm3"] = new("smollm3") { RotatesNeighbours = true, HasAttentionBias = false, PlainInterval = 4 },
        ["t5"] = new(GgufT5.Name),
    };

    /// <summary>The architecture of a model.</summary>
    /// <exception cref="UserException">llama.cpp has none that computes the same; the message names the family or the field.</exception>
    public static GgufArchitecture Of(ModelConfig config)
    {
        string family = ModelFamilies.Of(config).ModelType;
        if (ByFamily.TryGetValue(family, out GgufArchitecture? architecture))
            return architecture;
        throw new UserException(config.PredictsMaskedTokens
            ? $"{config.Family} cannot be exported to GGUF: llama.cpp has encoders without the head that predicts masked tokens"
            : $"{config.Family} cannot be exported to GGUF; these families can: {string.Join(", ", ByFamily.Keys)}");
    }

    /// <summary>The factor between the scale of the attention scores and the one that the architecture has; it is put into the weights of queries.</summary>
    public float FactorOf(AttentionDescription attention) =>
        HiddenScaleLayers is null || attention.Scale * MathF.Sqrt(ScaleSize) is > 1 - 1e-6f and < 1 + 1e-6f ? 1 : attention.Scale * MathF.Sqrt(ScaleSize);

    /// <summary>The square of the divisor of the scores; set for architectures with <see cref="HiddenScaleLayers"/>.</summary>
    public float ScaleSize { get; init; }

    /// <summary>The architecture with the values that depend on a model, checked.</summary>
    /// <exception cref="UserException">The architecture computes something else; the message names the field.</exception>
    public GgufArchitecture For(ModelConfig config, TransformerDescription model)
    {
        if (Name == GgufT5.Name)
        {
            GgufT5.Check(config, model);
            return this;
        }

        GgufArchitecture fitted = this with { WindowPeriod = config is Gemma3Config gemma ? gemma.SlidingPattern : WindowPeriod };
        AttentionDescription first = model.Blocks[0].Attention;
        fitted = fitted with { ScaleSize = HiddenScaleLayers == model.Blocks.Count ? (float)model.HiddenSize / first.Heads : first.HeadSize };
        fitted.Check(config, model);
        return fitted;
    }

    private void Check(ModelConfig config, TransformerDescription model)
    {
        void Require(bool holds, string has, string needs)
        {
            if (!holds)
                throw new UserException($"{config.Family} with {has} cannot be exported to GGUF: in llama.cpp's {Name}, {needs}");
        }

        Require(!HasCaps || model.Head.SoftCap is not null, "final_logit_softcapping = null", "logits are always capped");
        Require(HasCaps || model.Head.SoftCap is null, $"final_logit_softcapping = {model.Head.SoftCap}", "logits are not capped");
        Require(HiddenScaleLayers is null || model.Head.Projection is null, "an untied head", "the head is the token embedding");
        for (int i = 0; i < model.Blocks.Count; i++)
        {
            AttentionDescription attention = model.Blocks[i].Attention;
            FeedForwardDescription part = model.Blocks[i].FeedForward;
            bool isPlain = PlainInterval is { } interval && (i + 1) % interval == 0;
            Require(!DividesHeads || attention.HeadSize * attention.Heads == model.HiddenSize, $"head_dim = {attention.HeadSize}", "heads together are as wide as the model");
            Require(HiddenScaleLayers is not null || Math.Abs(attention.Scale * MathF.Sqrt(attention.HeadSize) - 1) < 1e-6f, $"other attention scores in layer {i}", "scores are divided by the square root of the head size");
            Require(HasAttentionBias || attention.Inputs.All(input => !input.HasBias), "attention_bias", "the projections of attention have no biases");
            Require(Name != "gptneox" || attention.Inputs[0].HasBias, "attention_bias = false", "the projections of attention have biases");
            Require(HasFeedForwardBias || !part.Up.HasBias, "mlp_bias", "feed-forward layers have no biases");
            Require(ActivationNames.Find(part.Activation) is { } activation && (activation == Activation || (Name == "gptneox" && activation == Activation.GeluErf)), $"the activation \"{part.Activation}\"", $"it is {(Activation == Activation.Silu ? "silu" : "the tanh approximation of gelu")}");
            Require(!HasCaps || attention.SoftCap is not null, "attn_logit_softcapping = null", "scores are always capped");
            Require(Name != "qwen3moe" || part.Experts is { NormalizesWeights: true }, part.Experts is null ? $"a layer without experts ({i})" : "norm_topk_prob = false", "every layer has experts, and their weights are normalised");
            Require(attention.Rotary is null == isPlain || Name == "gpt2", $"no_rope_layers or no_rope_layer_interval, as they are in layer {i}", $"one layer of {PlainInterval} has no rotary positions");
            if (WindowPeriod is { } period)
                Require(attention.KeysBefore is not null == i % period < period - 1, $"layer_types, sliding_window or sliding_window_pattern, as they are in layer {i}", $"all but one layer of {period} have a window");
            if (attention.Rotary is not { } rotary)
                continue;
            Require(RotatesPart || rotary.Size == attention.HeadSize, "partial_rotary_factor", "whole heads are rotated");
            CheckScaling(rotary.Scaling, attention.KeysBefore is not null && HasWindowTheta);
        }

        void CheckScaling(RotaryScaling? scaling, bool isLocal)
        {
            string kind = scaling?.Name ?? "default";
            Require(isLocal ? kind == "default" : Scalings.Contains(kind), $"rope_scaling of type \"{kind}\"", $"the types are {string.Join(", ", Scalings)}{(HasWindowTheta ? ", and layers with a window have no scaling" : "")}");
            Require((scaling?.FastTurns ?? 32) == 32 && (scaling?.SlowTurns ?? 1) == 1, "rope_scaling with beta_fast or beta_slow", "they are 32 and 1");
            Require(scaling?.Truncates != false, "rope_scaling with truncate = false", "the borders between frequencies are rounded");
        }
    }
}
