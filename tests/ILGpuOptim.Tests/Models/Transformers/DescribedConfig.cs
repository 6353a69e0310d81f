using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models.Transformers;

/// <summary>A configuration that is nothing but a description.</summary>
internal sealed record DescribedConfig : ModelConfig
{
    public required TransformerDescription Description { get; init; }

    public override int ContextLength { get; init; }

    public override int Layers { get; init; }

    public override int HiddenSize { get; init; }

    public override int Heads { get; init; }

    public override string Family => "a described model";

    public override string TokenTensor => Description.Embedding.Tokens + ".weight";

    public override TransformerDescription Describe() => Description;

    public override ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? hiddenSize = null, double? dropout = null) => this;

    public override void Check(string source)
    {
    }

    public static DescribedConfig Of(TransformerDescription description) => new()
    {
        VocabularySize = description.VocabularySize,
        ContextLength = description.MaxPositions,
        Layers = description.Blocks.Count,
        HiddenSize = description.HiddenSize,
        Heads = description.Blocks[0].Attention.Heads,
        Description = description,
    };
}
