using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Models;

/// <summary>The graph of a transformer, from its description.</summary>
internal sealed class OnnxTransformer
{
    private readonly TransformerDescription model;
    private readonly OnnxGraph graph = new();
    private readonly OnnxLayers layers;
    private readonly OnnxAttention attention;

    /// <summary>Prepares.</summary>
    /// <param name="model">The description.</param>
    /// <param name="parameters">The parameters.</param>
    public OnnxTransformer(TransformerDescription model, IReadOnlyList<Parameter> parameters)
    {
        this.model = model;
        layers = new OnnxLayers(graph, parameters);
        attention = new OnnxAttention(graph, layers);
    }

    /// <summary>Builds the graph.</summary>
    /// <exception cref="UserException">There is no operator for an activation.</exception>
    public OnnxGraph Build()
    {
        string ids = graph.Input("input_ids", OnnxType.Int64, "batch", "sequence"), length = "sequence";
        string? keys = graph.Node("Unsqueeze", [graph.Node("Equal", [graph.OptionalInput("attention_mask", 1), graph.Integer(1)]), graph.Integers(1, 2)]);
        EncodedKeys? encoded = null;
        if (model.Encoder is { } encoder)
        {
            encoded = new(Stack(encoder, Embed(ids, encoder.Embedding), ids, keys, null), keys);
            (ids, length, keys) = (graph.Input("decoder_input_ids", OnnxType.Int64, "batch", "decoder_sequence"), "decoder_sequence", null);
        }

        string states = Stack(model, Embed(ids, model.Embedding), ids, keys, encoded);
        graph.Output("logits", Head(states), OnnxType.Float, "batch", length, $"{model.VocabularySize}");
        return graph;
    }

    private string Embed(string ids, EmbeddingDescription description)
    {
        string x = graph.Scale(graph.Node("Gather", [layers.Table(model.Embedding.Tokens), ids]), description.Scale);
        if (description.Positions is { } positions)
            x = graph.Add(x, graph.Node("Gather", [layers.Table(positions.Name), positions.PaddingToken is { } padding ? PlacesAfter(ids, padding) : attention.Positions(ids)]));
        if (description.Segments is { } segments)
            x = graph.Add(x, graph.Node("Gather", [layers.Table(segments), description.SegmentCount > 1 ? graph.OptionalInput("token_type_ids", 0) : graph.Integer(0)]));
        return layers.Norm(description.Norm, x);
    }

    /// <summary>RoBERTa's positions: the padding id plus the count of other tokens up to each; those of padding are the padding id.</summary>
    private string PlacesAfter(string ids, int padding)
    {
        string isToken = graph.Cast(graph.Node("Not", [graph.Node("Equal", [ids, graph.Integer(padding)])]), OnnxType.Int64);
        return graph.Add(graph.Multiply(graph.Node("CumSum", [isToken, graph.Integer(1)]), isToken), graph.Integer(padding));
    }

    private string Stack(TransformerDescription stack, string x, string ids, string? keys, EncodedKeys? encoded)
    {
        foreach (BlockDescription block in stack.Blocks)
            x = Block(block, x, ids, keys, encoded, stack.IsCausal);
        return layers.Norm(stack.FinalNorm, x);
    }

    private string Block(BlockDescription block, string x, string ids, string? keys, EncodedKeys? encoded, bool isCausal)
    {
        string y = Sum(block, x, attention.Self(block.Attention, layers.Norm(block.AttentionNorm, x), ids, keys, isCausal), block.AttentionOutputNorm);
        if (block.CrossAttention is { } cross)
            y = Sum(block, y, attention.Across(cross, layers.Norm(block.CrossAttentionNorm, y), encoded!), null);
        string read = block.Residual == ResidualKind.Parallel ? x : y;
        return Sum(block, y, layers.FeedForward(block.FeedForward, layers.Norm(block.FeedForwardNorm, read)), block.FeedForwardOutputNorm);
    }

    private string Sum(BlockDescription block, string stream, string branch, NormDescription? norm) => block.Residual == ResidualKind.NormAfterSum
        ? layers.Norm(norm, graph.Add(stream, branch))
        : graph.Add(stream, layers.Norm(norm, branch));

    private string Head(string x)
    {
        HeadDescription head = model.Head;
        if (head.Transform is { } transform)
            x = layers.Norm(transform.Norm, layers.Activation(transform.Activation, layers.Linear(transform.Dense, x)));
        x = graph.Scale(x, head.Scale);
        // A tied head reads the token embedding, which is in the file once.
        string logits = head.Projection is { } projection ? layers.Linear(projection, x)
            : graph.Node("MatMul", [x, graph.Transpose(layers.Table(model.Embedding.Tokens), 1, 0)]);
        if (head.Bias is { } bias)
            logits = graph.Add(logits, layers.Vector(bias));
        return graph.Cap(logits, head.SoftCap);
    }
}

/// <summary>What cross-attention reads.</summary>
/// <param name="States">The encoder's states.</param>
/// <param name="Keys">Which of them are tokens.</param>
internal sealed record EncodedKeys(string States, string Keys);
