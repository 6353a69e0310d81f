using System.Text.Json.Serialization;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>Mixtral (Jiang et al., "Mixtral of experts", 2024): every layer's feed-forward part is a mixture of experts.</summary>
public record MixtralConfig : DecoderConfig
{
    /// <summary>The defaults of <c>transformers</c>.</summary>
    public MixtralConfig()
    {
        Architectures = ["MixtralForCausalLM"];
        KeyHeads = 8;
        ContextLength = 131072;
        NormEpsilon = 1e-5f;
    }

    /// <summary>The family.</summary>
    public static ModelFamily Registration { get; } = ModelFamily.Of<MixtralConfig>("mixtral", "Mixtral");

    /// <summary>The attention window in tokens, the query's own included; null: no window.</summary>
    [JsonPropertyName("sliding_window")]
    public int? SlidingWindow { get; init; }

    /// <summary>Experts of a layer.</summary>
    [JsonPropertyName("num_local_experts"), OtherName("num_experts")]
    public int ExpertCount { get; init; } = 8;

    /// <summary>The number of experts per token.</summary>
    [JsonPropertyName("num_experts_per_tok")]
    public int ExpertsPerToken { get; init; } = 2;

    /// <summary>Adds the routers' load-balancing loss to the training loss.</summary>
    [JsonPropertyName("output_router_logits")]
    public bool AddsRouterLoss { get; init; }

    /// <summary>The coefficient of the load-balancing loss.</summary>
    [JsonPropertyName("router_aux_loss_coef")]
    public float RouterLossCoefficient { get; init; } = 0.001f;

    /// <summary>In training, router and experts see x times uniform noise in [1 - this, 1 + this].</summary>
    [JsonPropertyName("router_jitter_noise")]
    public float RouterJitter { get; init; }

    /// <inheritdoc/>
    protected override int? Window => SlidingWindow;

    /// <summary>Newer files name the router under <c>mlp</c>.</summary>
    public override IReadOnlyDictionary<string, string> OtherTensorNames => new Dictionary<string, string> { [".mlp.gate."] = ".block_sparse_moe.gate." };

    /// <inheritdoc/>
    private protected override RotaryFields Rotary(bool slides) => base.Rotary(slides) with { DefaultTheta = 1e6 };

    /// <inheritdoc/>
    public override TransformerDescription Describe() => base.Describe() with { RouterLossCoefficient = AddsRouterLoss ? RouterLossCoefficient : 0 };

    /// <inheritdoc/>
    protected override FeedForwardDescription FeedForward(int layer)
    {
        string name = NameOf(layer) + "block_sparse_moe.";
        return new FeedForwardDescription
        {
            Activation = Activation,
            IntermediateSize = IntermediateSize,
            Gate = Product(name + "experts.{e}.w1", hasBias: false),
            Up = Product(name + "experts.{e}.w3", hasBias: false),
            Down = Product(name + "experts.{e}.w2", hasBias: false),
            Experts = new ExpertsDescription(ExpertCount, ExpertsPerToken, Product(name + "gate", hasBias: false))
            {
                NormalizesWeights = true,
                Jitter = RouterJitter,
                PackedGateUp = NameOf(layer) + "mlp.experts.gate_up_proj",
                PackedDown = NameOf(layer) + "mlp.experts.down_proj",
            },
        };
    }

    /// <inheritdoc/>
    public override void Check(string source)
    {
        base.Check(source);
        ConfigChecks.Experts(source, "num_local_experts", ExpertCount, ExpertsPerToken, RouterLossCoefficient);
        if (!(RouterJitter >= 0 && RouterJitter < 1))
            throw new UserException($"{source}: router_jitter_noise = {RouterJitter}; it must lie in [0, 1)");
    }
}
