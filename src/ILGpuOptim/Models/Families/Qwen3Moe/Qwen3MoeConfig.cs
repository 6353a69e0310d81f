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

    /// <summary>The number of experts per token.</summary>
    [JsonPropertyName("num_experts_per_tok")]
    public int ExpertsPerToken { get; init; } = 8;

    /// <summary>The intermediate size of an expert.</summary>
    [JsonPropertyName("moe_intermediate_size")]
    public int ExpertIntermediateSize { get; init; } = 768;

    /// <summary>Normalises the weights of a token's experts to a sum of 1.</summary>
    [JsonPropertyName("norm_topk_prob")]
    public bool NormalizesWeights { get; init; }

    /// <summary>One layer of this many has experts.</summary>
    [JsonPropertyName("decoder_sparse_step")]
    public int SparseStep { get; init; } = 1;

    /// <summary>Indices of layers without experts.</summary>
    [JsonPropertyName("mlp_only_layers")]
    public IReadOnlyList<int> DenseLayers { get; init; } = [];

    /// <summary>Adds the routers' load-balancing loss to the training loss.</summary>
    [JsonPropertyName("output_router_logits")]
    public bool AddsRouterLoss { get; init; }

    /// <summary>The coefficient of the load-balancing loss.</summary>
    [JsonPropertyName("router_aux_loss_coef")]
    public float RouterLossCoefficient { get; init; } = 0.001f;

    /// <inheritdoc/>
    protected override bool HasLayerKinds => false;

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
            IntermediateSize = ExpertIntermediateSize,
            Gate = Product(name + "experts.{e}.gate_proj", hasBias: false),
            Up = Product(name + "experts.{e}.up_proj", hasBias: false),
            Down = Product(name + "experts.{e}.down_proj", hasBias: false),
            Experts = new ExpertsDescription(ExpertCount, ExpertsPerToken, Product(name + "gate", hasBias: false))
            {
                NormalizesWeights = NormalizesWeights,
                PackedGateUp = name + "experts.gate_up_proj",
                PackedDown = name + "experts.down_proj",
            },
        };
    }

    /// <inheritdoc/>
    public override ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? hiddenSize = null, double? dropout = null) =>
        (Qwen3MoeConfig)base.Resized(vocabulary, positions, layers, heads, hiddenSize, dropout) with { ExpertIntermediateSize = (int)((long)ExpertIntermediateSize * (hiddenSize ?? HiddenSize) / HiddenSize) };

    /// <inheritdoc/>
    public override void Check(string source)
    {
        base.Check(source);
        ConfigChecks.Size(source, "moe_intermediate_size", ExpertIntermediateSize, ConfigChecks.MaxWidth);
        ConfigChecks.Size(source, "decoder_sparse_step", SparseStep, ConfigChecks.MaxLayers);
        ConfigChecks.Experts(source, "num_experts", ExpertCount, ExpertsPerToken, RouterLossCoefficient);
    }
}
