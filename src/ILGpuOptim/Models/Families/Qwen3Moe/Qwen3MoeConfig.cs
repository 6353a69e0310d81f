using System.Text.Json.Serialization;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>Qwen 3 with mixtures of experts (Yang et al., 2025): some layers have experts, others are dense.</summary>
public record Qwen3MoeConfig : Qwen3Config
{
    /// <summary>The defaults of <c>transformers</c>.</summary>
    public Qwen3MoeConfig()
    {
        Architectures = ["Qwen3MoeForCausalLM"];
        HeadSize = null;
        KeyHeads = 4;
    }

    /// <summary>The family.</summary>
    public static new ModelFamily Registration { get; } = ModelFamily.Of<Qwen3MoeConfig>("qwen3_moe", "Qwen 3 MoE");

    /// <summary>Experts of a layer.</summary>
    [JsonPropertyName("num_experts"), OtherName("num_local_experts")]
    public int ExpertCount { get; init; } = 128;

    /// <summary>How many experts compute each token.</summary>
    [JsonPropertyName("num_experts_per_tok")]
    public int ExpertsPerToken { get; init; } = 8;

    /// <summary>The width inside an expert.</summary>
    [JsonPropertyName("moe_intermediate_size")]
    public int ExpertInner { get; init; } = 768;

    /// <summary>Whether the weights of the chosen experts are divided by their sum.</summary>
    [JsonPropertyName("norm_topk_prob")]
    public bool NormalizesWeights { get; init; }

    /// <summary>Every so many layers have experts.</summary>
    [JsonPropertyName("decoder_sparse_step")]
    public int SparseStep { get; init; } = 1;

    /// <summary>Layers without experts, counted from 0.</summary>
    [JsonPropertyName("mlp_only_layers")]
    public IReadOnlyList<int> DenseLayers { get; init; } = [];

    /// <summary>Whether the loss has the routers' load-balancing loss.</summary>
    [JsonPropertyName("output_router_logits")]
    public bool AddsRouterLoss { get; init; }

    /// <summary>What the load-balancing loss is multiplied by.</summary>
    [JsonPropertyName("router_aux_loss_coef")]
    public float RouterLossCoefficient { get; init; } = 0.001f;

    /// <inheritdoc/>
    protected override bool SlidesByRule(int layer) => true;

    /// <inheritdoc/>
    public override TransformerDescription Describe() => base.Describe() with { RouterLossCoefficient = AddsRouterLoss ? RouterLossCoefficient : 0 };

    /// <inheritdoc/>
    protected override FeedForwardDescription FeedForward(int layer)
    {
        if (DenseLayers.Contains(layer) || (layer + 1) % SparseStep != 0)
            return base.FeedForward(layer);
        string name = NameOf(layer) + "mlp.";
        return new FeedForwardDescription
        {
            Activation = Activation,
            IntermediateSize = ExpertInner,
            Gate = Product(name + "experts.{e}.gate_proj", hasBias: false),
            Up = Product(name + "experts.{e}.up_proj", hasBias: false),
            Down = Product(name + "experts.{e}.down_proj", hasBias: false),
            Experts = new ExpertsDescription(ExpertCount, ExpertsPerToken, NormalizesWeights, Product(name + "gate", hasBias: false))
            {
                PackedGateUp = name + "experts.gate_up_proj",
                PackedDown = name + "experts.down_proj",
            },
        };
    }

    /// <inheritdoc/>
    public override ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? hiddenSize = null, double? dropout = null) =>
        (Qwen3MoeConfig)base.Resized(vocabulary, positions, layers, heads, hiddenSize, dropout) with { ExpertInner = (int)((long)ExpertInner * (hiddenSize ?? HiddenSize) / HiddenSize) };

    /// <inheritdoc/>
    public override void Check(string source)
    {
        base.Check(source);
        ConfigChecks.Size(source, "moe_intermediate_size", ExpertInner, ConfigChecks.MostWidth);
        ConfigChecks.Size(source, "decoder_sparse_step", SparseStep, ConfigChecks.MostLayers);
        ConfigChecks.Experts(source, "num_experts", ExpertCount, ExpertsPerToken, RouterLossCoefficient);
    }
}
