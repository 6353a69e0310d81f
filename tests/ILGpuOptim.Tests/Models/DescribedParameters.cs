using ILGpuOptim.Layers;

namespace ILGpuOptim.Tests.Models;

/// <summary>Names and shapes of all parameters that a description asks for, written out independently of the model class.</summary>
internal static class DescribedParameters
{
    public static IEnumerable<(string Name, int[] Shape)> Of(TransformerDescription model)
    {
        var all = new List<(string, int[])> { (model.Embedding.Tokens + ".weight", [model.VocabularySize, model.HiddenSize]) };
        if (model.Embedding.Positions is { } positions)
            all.Add((positions.Name + ".weight", [positions.Rows, model.HiddenSize]));
        if (model.Embedding.Segments is { } segments)
            all.Add((segments + ".weight", [model.Embedding.SegmentCount, model.HiddenSize]));
        all.AddRange(Norm(model.Embedding.Norm, model.HiddenSize));
        if (model.Encoder is { } encoder)
            all.AddRange(Stack(encoder));
        all.AddRange(Stack(model));
        if (model.Head.Transform is { } transform)
        {
            all.AddRange(Product(transform.Dense, model.HiddenSize, model.HiddenSize));
            all.AddRange(Norm(transform.Norm, model.HiddenSize));
        }

        if (model.Head.Projection is { } head)
            all.AddRange(Product(head, model.HiddenSize, model.VocabularySize));
        if (model.Head.Bias is { } bias)
            all.Add((bias, [model.VocabularySize]));
        return all.DistinctBy(item => item.Item1);
    }

    private static IEnumerable<(string, int[])> Stack(TransformerDescription stack) =>
        stack.Blocks.SelectMany(block => Block(block, stack.HiddenSize)).Concat(Norm(stack.FinalNorm, stack.HiddenSize));

    private static IEnumerable<(string, int[])> Block(BlockDescription block, int width) =>
    [
        .. Norm(block.AttentionNorm, width), .. Attention(block.Attention, width), .. Norm(block.AttentionOutputNorm, width),
        .. Norm(block.CrossAttentionNorm, width), .. block.CrossAttention is { } cross ? Attention(cross, width) : [],
        .. Norm(block.FeedForwardNorm, width), .. FeedForward(block.FeedForward, width), .. Norm(block.FeedForwardOutputNorm, width),
    ];

    private static IEnumerable<(string, int[])> Attention(AttentionDescription attention, int width)
    {
        int queries = attention.Heads * attention.HeadSize, keys = attention.KeyHeads * attention.HeadSize;
        IEnumerable<(string, int[])> inputs = attention.Inputs.Count == 1
            ? Product(attention.Inputs[0], width, queries + 2 * keys)
            : [.. Product(attention.Inputs[0], width, queries), .. Product(attention.Inputs[1], width, keys), .. Product(attention.Inputs[2], width, keys)];
        int size = attention.HeadSize;
        return
        [
            .. inputs, .. Product(attention.Output, queries, width),
            .. Norm(attention.QueryNorm, attention.NormsHeads ? size : queries), .. Norm(attention.KeyNorm, attention.NormsHeads ? size : keys),
            .. attention.RelativeBias is { } bias ? [(bias.Name + ".weight", [bias.Buckets, attention.Heads])] : Array.Empty<(string, int[])>(),
        ];
    }

    private static IEnumerable<(string, int[])> FeedForward(FeedForwardDescription part, int width)
    {
        IEnumerable<(string, int[])> one =
        [
            .. part.Gate is { } gate ? Product(gate, width, part.IntermediateSize) : [],
            .. Product(part.Up, width, part.IsPacked ? 2 * part.IntermediateSize : part.IntermediateSize),
            .. Product(part.Down, part.IntermediateSize, width),
        ];
        return part.Experts is not { } experts ? one
            : Product(experts.Router, width, experts.Count).Concat(
                Enumerable.Range(0, experts.Count).SelectMany(e => one.Select(item => (item.Item1.Replace("{e}", $"{e}", StringComparison.Ordinal), item.Item2))));
    }

    private static IEnumerable<(string, int[])> Norm(NormDescription? norm, int width) => norm is null ? []
        : norm.HasBias ? [(norm.Name + ".weight", [width]), (norm.Name + ".bias", [width])]
        : [(norm.Name + ".weight", [width])];

    private static IEnumerable<(string, int[])> Product(ProjectionDescription product, int inputs, int outputs)
    {
        yield return (product.Name + ".weight", product.InputsFirst ? [inputs, outputs] : [outputs, inputs]);
        if (product.HasBias)
            yield return (product.Name + ".bias", [outputs]);
    }
}
