using ILGpuOptim.Layers;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Models;

/// <summary>How the rows of a GGUF tensor lie compared with the parameter.</summary>
internal enum GgufOrder
{
    /// <summary>In the same order.</summary>
    Same,

    /// <summary>Rotary pairs are neighbours (0, 1), (2, 3), … of a head; in the parameter they are (0, size/2), (1, size/2 + 1), ….</summary>
    Neighbours,

    /// <summary>Queries, keys and values of all heads follow one another; in the parameter each head has its three.</summary>
    Sections,

    /// <summary>Outputs × inputs; the parameter is inputs × outputs.</summary>
    Transposed,
}

/// <summary>A tensor of a GGUF file that holds parameters of a model.</summary>
/// <param name="Name">The tensor's name.</param>
/// <param name="Shape">Its sizes, the row length last.</param>
/// <param name="Parameters">The names of its parameters: one, or those of the experts in order.</param>
internal sealed record GgufTensor(string Name, IReadOnlyList<int> Shape, params IReadOnlyList<string> Parameters)
{
    /// <summary>The order of its rows.</summary>
    public GgufOrder Order { get; init; }

    /// <summary>The heads of the rows, where the order depends on them.</summary>
    public int Heads { get; init; } = 1;

    /// <summary>Added to the parameter's values: 1 for norms whose factor is 1 + weight.</summary>
    public float Offset { get; init; }

    /// <summary>Multiplies the values, after <see cref="Offset"/> is added.</summary>
    public float Factor { get; init; } = 1;

    /// <summary>The parameter's row of each row of the file; null: they have the same rows.</summary>
    public IReadOnlyList<int>? Rows { get; init; }

    /// <summary>The metadata has the parameter's values too, as they do not follow from the tensor's. Files that were made elsewhere have the parameter in the tensor.</summary>
    public bool KeepsOriginal { get; init; }

    /// <summary>True for matrices that may be stored in a narrow type; norms, biases, positions and routers stay in f32.</summary>
    public bool IsMatrix { get; init; }

    /// <summary>Converts a parameter's values to those of the file.</summary>
    public float[] ToFile(float[] values) => Reordered(Affine(values, value => (value + Offset) * Factor), toFile: true);

    /// <summary>Converts values of the file to those of a parameter.</summary>
    public float[] FromFile(float[] values) => Reordered(Affine(values, value => value / Factor - Offset), toFile: false);

    private float[] Affine(float[] values, Func<float, float> map) => Offset == 0 && Factor == 1 ? values : Array.ConvertAll(values, value => map(value));

    private float[] Reordered(float[] values, bool toFile)
    {
        if (toFile && Rows is { } sources)
            return [.. sources.SelectMany(row => values.Skip(row * Shape[^1]).Take(Shape[^1]))];
        if (Order == GgufOrder.Same)
            return values;
        int columns = Shape.Count == 1 ? 1 : Shape[^1], rows = values.Length / columns;
        var result = new float[values.Length];
        if (Order == GgufOrder.Transposed)
        {
            (int outer, int inner) = toFile ? (columns, rows) : (rows, columns);
            for (int i = 0; i < outer; i++)
            {
                for (int j = 0; j < inner; j++)
                    result[j * outer + i] = values[i * inner + j];
            }

            return result;
        }

        for (int row = 0; row < rows; row++)
        {
            (int source, int target) = toFile ? (ParameterRow(row, rows), row) : (row, ParameterRow(row, rows));
            values.AsSpan(source * columns, columns).CopyTo(result.AsSpan(target * columns));
        }

        return result;
    }

    /// <summary>The parameter's row that is a row of the file.</summary>
    private int ParameterRow(int row, int rows)
    {
        int size = rows / Heads, head = row / size, i = row % size;
        if (Order == GgufOrder.Neighbours)
            return head * size + i / 2 + i % 2 * (size / 2);
        size /= 3;
        (int part, int rest) = (row / (Heads * size), row % (Heads * size));
        return (rest / size * 3 + part) * size + rest % size;
    }
}

/// <summary>The tensors that a GGUF file of an architecture has for a model, from the model's description.</summary>
internal static class GgufTensors
{
    /// <summary>The tensors in the order of the file.</summary>
    public static IEnumerable<GgufTensor> Of(TransformerDescription model, GgufArchitecture architecture)
    {
        if (model.Encoder is not null)
        {
            foreach (GgufTensor tensor in GgufT5.Tensors(model))
                yield return tensor;
            yield break;
        }

        int width = model.HiddenSize;
        string tokens = model.Embedding.Tokens + ".weight";
        yield return new("token_embd.weight", [model.VocabularySize, width], tokens) { IsMatrix = true };
        if (model.Embedding.Positions is { } positions)
            yield return new("position_embd.weight", [positions.Rows, width], positions.Name + ".weight");
        for (int i = 0; i < model.Blocks.Count; i++)
        {
            foreach (GgufTensor tensor in OfBlock($"blk.{i}.", model.Blocks[i], width, architecture))
                yield return tensor;
        }

        foreach (GgufTensor tensor in OfNorm("output_norm", model.FinalNorm, width))
            yield return tensor;
        if (model.Head.Projection is not null || architecture.NeedsHead)
            yield return new("output.weight", [model.VocabularySize, width], model.Head.Projection is { } head ? head.Name + ".weight" : tokens) { IsMatrix = true };
    }

    private static IEnumerable<GgufTensor> OfBlock(string name, BlockDescription block, int width, GgufArchitecture architecture)
    {
        AttentionDescription attention = block.Attention;
        int queries = attention.Heads * attention.HeadSize, keys = attention.KeyHeads * attention.HeadSize;
        GgufOrder rotated = architecture.RotatesNeighbours && attention.Rotary is not null ? GgufOrder.Neighbours : GgufOrder.Same;
        float scale = architecture.FactorOf(attention);
        int queryNorm = attention.NormsHeads ? attention.HeadSize : queries, keyNorm = attention.NormsHeads ? attention.HeadSize : keys;
        bool scalesNorm = attention.QueryNorm is not null;
        return
        [
            .. OfNorm(name + "attn_norm", block.AttentionNorm, width),
            .. attention.Inputs is [var packed]
                ? OfProjection(name + "attn_qkv", packed, width, queries + 2 * keys, attention.Order == PackedOrder.Heads ? GgufOrder.Sections : GgufOrder.Same, attention.Heads)
                : [
                    .. OfProjection(name + "attn_q", attention.Inputs[0], width, queries, rotated, attention.Heads, scalesNorm ? 1 : scale),
                    .. OfProjection(name + "attn_k", attention.Inputs[1], width, keys, rotated, attention.KeyHeads),
                    .. OfProjection(name + "attn_v", attention.Inputs[2], width, keys),
                ],
            .. OfNorm(name + "attn_q_norm", attention.QueryNorm, queryNorm, scale),
            .. OfNorm(name + "attn_k_norm", attention.KeyNorm, keyNorm),
            .. OfProjection(name + "attn_output", attention.Output, queries, width),
            .. OfNorm(name + "post_attention_norm", block.AttentionOutputNorm, width),
            .. OfNorm(name + "ffn_norm", block.FeedForwardNorm, width),
            .. OfFeedForward(name, block.FeedForward, width),
            .. OfNorm(name + "post_ffw_norm", block.FeedForwardOutputNorm, width),
        ];
    }

    public static IEnumerable<GgufTensor> OfFeedForward(string name, FeedForwardDescription part, int width)
    {
        int inner = part.IntermediateSize;
        if (part.Experts is { } experts)
        {
            return
            [
                new(name + "ffn_gate_inp.weight", [experts.Count, width], experts.Router.Name + ".weight"),
                Stacked("ffn_gate_exps", part.Gate!, inner, width),
                Stacked("ffn_up_exps", part.Up, inner, width),
                Stacked("ffn_down_exps", part.Down, width, inner),
            ];

            GgufTensor Stacked(string kind, ProjectionDescription projection, int outputs, int inputs) =>
                new($"{name}{kind}.weight", [experts.Count, outputs, inputs], [.. Enumerable.Range(0, experts.Count).Select(e => projection.Name.Replace("{e}", $"{e}", StringComparison.Ordinal) + ".weight")])
                { IsMatrix = true };
        }

        return
        [
            .. part.Gate is { } gate ? OfProjection(name + "ffn_gate", gate, width, inner) : [],
            .. OfProjection(name + "ffn_up", part.Up, width, part.IsPacked ? 2 * inner : inner),
            .. OfProjection(name + "ffn_down", part.Down, inner, width),
        ];
    }

    public static IEnumerable<GgufTensor> OfNorm(string name, NormDescription? norm, int size, float factor = 1)
    {
        if (norm is null)
            yield break;
        yield return new(name + ".weight", [size], norm.Name + ".weight") { Offset = norm.AddsOne ? 1 : 0, Factor = factor };
        if (norm.HasBias)
            yield return new(name + ".bias", [size], norm.Name + ".bias");
    }

    public static IEnumerable<GgufTensor> OfProjection(string name, ProjectionDescription projection, int inputs, int outputs, GgufOrder order = GgufOrder.Same, int heads = 1, float factor = 1)
    {
        yield return new(name + ".weight", [outputs, inputs], projection.Name + ".weight")
        {
            Order = projection.InputsFirst ? GgufOrder.Transposed : order,
            Heads = heads,
            Factor = factor,
            IsMatrix = true,
        };
        if (projection.HasBias)
            yield return new(name + ".bias", [outputs], projection.Name + ".bias") { Order = order, Heads = heads, Factor = factor };
    }
}
