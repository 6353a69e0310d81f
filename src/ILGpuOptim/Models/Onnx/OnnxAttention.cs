using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Models;

/// <summary>Attention of a graph: projections, rotary positions, masks and biases by distance.</summary>
/// <param name="graph">The graph.</param>
/// <param name="layers">Norms and products.</param>
internal sealed class OnnxAttention(OnnxGraph graph, OnnxLayers layers)
{
    /// <summary>0, 1, … up to the length of a batch of ids.</summary>
    public string Positions(string ids) => graph.Node("Range", [graph.Integer(0), Length(ids), graph.Integer(1)]);

    /// <summary>Scores of keys that are not attended to. A query that attends to none, such as padding, gets the mean of all.</summary>
    private const float Excluded = -1e30f;

    /// <summary>Self-attention of x, batch × length × hidden size; keys says which tokens are attended to, null: all.</summary>
    public string Self(AttentionDescription attention, string x, string ids, string? keys, bool isCausal)
    {
        (string query, string key, string value) = Inputs(attention, x, x);
        if (attention.Rotary is { } rotary)
        {
            (string cosine, string sine) = Angles(rotary, ids);
            query = Rotate(query, rotary.Size, attention.HeadSize, cosine, sine);
            key = Rotate(key, rotary.Size, attention.HeadSize, cosine, sine);
        }

        return Mix(attention, query, key, value, Bias(attention, ids), Mask(attention, ids, keys, isCausal));
    }

    /// <summary>Attention of x to an encoder's states.</summary>
    public string Across(AttentionDescription attention, string x, EncodedKeys encoded)
    {
        (string query, string key, string value) = Inputs(attention, x, encoded.States);
        return Mix(attention, query, key, value, null, encoded.Keys);
    }

    private string Length(string ids) => graph.Node("Gather", [graph.Node("Shape", [ids]), graph.Integer(1)]);

    /// <summary>Queries, keys and values, batch × heads × length × head size.</summary>
    private (string Query, string Key, string Value) Inputs(AttentionDescription attention, string x, string states)
    {
        int size = attention.HeadSize, queries = attention.Heads * size, keys = attention.KeyHeads * size;
        if (attention.Inputs is [var packed])
        {
            string all = layers.Linear(packed, x);
            string[] parts = attention.Order == PackedOrder.Heads
                ? graph.Split(graph.Reshape(all, 0, 0, attention.Heads, 3 * size), size, size, size)
                : graph.Split(all, queries, keys, keys);
            return (Heads(parts[0], attention.Heads), Heads(parts[1], attention.KeyHeads), Heads(parts[2], attention.KeyHeads));
        }

        string query = Normed(attention.QueryNorm, layers.Linear(attention.Inputs[0], x), attention.Heads), key = Normed(attention.KeyNorm, layers.Linear(attention.Inputs[1], states), attention.KeyHeads);
        return (query, key, Heads(layers.Linear(attention.Inputs[2], states), attention.KeyHeads));

        string Heads(string values, int heads) => graph.Transpose(graph.Reshape(values, 0, 0, heads, size), 0, 2, 1, 3);

        string Normed(NormDescription? norm, string values, int heads) => norm is null || !attention.NormsHeads
            ? Heads(layers.Norm(norm, values), heads)
            : graph.Transpose(layers.Norm(norm, graph.Reshape(values, 0, 0, heads, size)), 0, 2, 1, 3);
    }

    private string Mix(AttentionDescription attention, string query, string key, string value, string? bias, string? mask)
    {
        int groups = attention.Heads / attention.KeyHeads, size = attention.HeadSize;
        string scores = graph.Node("MatMul", [graph.Scale(query, attention.Scale), graph.Transpose(Repeated(key), 0, 1, 3, 2)]);
        scores = graph.Cap(scores, attention.SoftCap);
        if (bias is not null)
            scores = graph.Add(scores, bias);
        if (mask is not null)
            scores = graph.Node("Where", [mask, scores, graph.Float(Excluded)]);
        string mixed = graph.Node("MatMul", [graph.Node("Softmax", [scores], ("axis", -1L)), Repeated(value)]);
        return layers.Linear(attention.Output, graph.Reshape(graph.Transpose(mixed, 0, 2, 1, 3), 0, 0, attention.Heads * size));

        string Repeated(string heads) => groups == 1 ? heads
            : graph.Reshape(graph.Node("Expand", [graph.Unsqueeze(heads, 2), graph.Integers(1, 1, groups, 1, 1)]), 0, attention.Heads, -1, size);
    }

    private string Rotate(string x, int rotated, int size, string cosine, string sine)
    {
        int half = rotated / 2;
        string[] parts = rotated == size ? graph.Split(x, half, half) : graph.Split(x, half, half, size - rotated);
        string first = graph.Node("Sub", [graph.Multiply(parts[0], cosine), graph.Multiply(parts[1], sine)]);
        string second = graph.Add(graph.Multiply(parts[1], cosine), graph.Multiply(parts[0], sine));
        return graph.Node("Concat", [first, second, .. parts[2..]], ("axis", -1L));
    }

    /// <summary>Cosines and sines, length × pairs. Angles are reduced to one turn in f64, so that those of far positions keep their digits.</summary>
    private (string Cosine, string Sine) Angles(RotaryDescription rotary, string ids)
    {
        var frequencies = new RotaryFrequencies(rotary);
        string positions = graph.Unsqueeze(graph.Cast(Positions(ids), OnnxType.Double), 1);
        string angles = graph.Multiply(positions, Frequencies(rotary, frequencies, ids));
        string turns = graph.Node("Floor", [graph.Node("Div", [angles, graph.Double(2 * Math.PI)])]);
        string reduced = graph.Cast(graph.Node("Sub", [angles, graph.Multiply(turns, graph.Double(2 * Math.PI))]), OnnxType.Float);
        float factor = (float)frequencies.AttentionFactor;
        return (graph.Scale(graph.Node("Cos", [reduced]), factor), graph.Scale(graph.Node("Sin", [reduced]), factor));
    }

    private string Frequencies(RotaryDescription rotary, RotaryFrequencies frequencies, string ids)
    {
        string name = $"rotary.{rotary.Theta}.{rotary.Size}.{rotary.Scaling?.Name}";
        string plain = graph.Doubles(name, frequencies.Of(0));
        if (!frequencies.DependsOnLength)
            return plain;
        string length = Length(ids);
        if (rotary.Scaling!.Name == "longrope")
        {
            string isLong = graph.Node("Greater", [length, graph.Integer(rotary.Scaling.OriginalPositions ?? rotary.MaxPositions)]);
            return graph.Node("Where", [isLong, graph.Doubles(name + ".long", frequencies.Of(1)), plain]);
        }

        // Dynamic: the base grows by a power of factor · length / positions - (factor - 1) in sequences longer than the positions.
        double factor = rotary.Scaling.Factor!.Value;
        string growth = graph.Node("Sub", [graph.Multiply(graph.Cast(length, OnnxType.Double), graph.Double(factor / rotary.MaxPositions)), graph.Double(factor - 1)]);
        string bounded = graph.Node("Where", [graph.Node("Greater", [length, graph.Integer(rotary.MaxPositions)]), growth, graph.Double(1)]);
        double[] powers = [.. Enumerable.Range(0, rotary.Size / 2).Select(k => -2.0 * k / (rotary.Size - 2))];
        return graph.Multiply(plain, graph.Node("Pow", [bounded, graph.Doubles(name + ".powers", powers)]));
    }

    /// <summary>How far each key lies behind each query, length × length.</summary>
    private string Distances(string ids) => graph.Node("Sub", [graph.Unsqueeze(Positions(ids), 1), graph.Unsqueeze(Positions(ids), 0)]);

    /// <summary>True where a query attends to a key; null: everywhere.</summary>
    private string? Mask(AttentionDescription attention, string ids, string? keys, bool isCausal)
    {
        string? mask = isCausal ? graph.Node("GreaterOrEqual", [Distances(ids), graph.Integer(0)]) : null;
        if (keys is not null)
            mask = And(mask, keys);
        if (attention.KeysBefore is { } before)
            mask = And(mask, graph.Node("LessOrEqual", [Distances(ids), graph.Integer(before)]));
        if (attention.KeysAfter is { } after && !isCausal)
            mask = And(mask, graph.Node("GreaterOrEqual", [Distances(ids), graph.Integer(-after)]));
        return mask;

        string And(string? one, string other) => one is null ? other : graph.Node("And", [one, other]);
    }

    /// <summary>The learned bias of each head by distance, heads × length × length.</summary>
    private string? Bias(AttentionDescription attention, string ids)
    {
        if (attention.RelativeBias is not { } bias)
            return null;
        using var device = new DryDevice();
        var table = new RelativeBias(new Initializer(device, 0), bias, attention.Heads);
        long[] buckets = [.. Enumerable.Range(-bias.MaxDistance, 2 * bias.MaxDistance + 1).Select(behind => (long)table.BucketOf(-behind))];
        string bounded = graph.Node("Clip", [Distances(ids), graph.Integer(-bias.MaxDistance), graph.Integer(bias.MaxDistance)]);
        string rows = graph.Node("Gather", [graph.Constant(bias.Name + ".buckets", OnnxType.Int64, [buckets.Length], () => [.. buckets.SelectMany(BitConverter.GetBytes)]), graph.Add(bounded, graph.Integer(bias.MaxDistance))]);
        return graph.Transpose(graph.Node("Gather", [layers.Table(bias.Name), rows]), 2, 0, 1);
    }
}
