using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Models;

/// <summary>Norms, products and feed-forward layers of a graph.</summary>
/// <param name="graph">The graph.</param>
/// <param name="parameters">The parameters of the model.</param>
internal sealed class OnnxLayers(OnnxGraph graph, IReadOnlyList<Parameter> parameters)
{
    private readonly Dictionary<string, Parameter> byName = parameters.ToDictionary(parameter => parameter.Name, StringComparer.Ordinal);

    /// <summary>A table of an embedding.</summary>
    public string Table(string name) => graph.Parameter(byName[name + ".weight"]);

    /// <summary>A parameter under its full name.</summary>
    public string Vector(string name) => graph.Parameter(byName[name]);

    /// <summary>A norm; x itself where there is none.</summary>
    public string Norm(NormDescription? norm, string x)
    {
        if (norm is null)
            return x;
        string weight = graph.Parameter(byName[norm.Name + ".weight"], offset: norm.AddsOne ? 1 : 0);
        if (norm.Kind == NormKind.LayerNorm)
            return graph.Node("LayerNormalization", norm.HasBias ? [x, weight, Vector(norm.Name + ".bias")] : [x, weight], ("axis", -1L), ("epsilon", norm.Epsilon));
        string squares = graph.Node("ReduceMean", [graph.Multiply(x, x)], ("axes", new[] { -1L }), ("keepdims", 1L));
        return graph.Multiply(graph.Node("Div", [x, graph.Node("Sqrt", [graph.Add(squares, graph.Float(norm.Epsilon))])]), weight);
    }

    /// <summary>A product with its bias.</summary>
    public string Linear(ProjectionDescription projection, string x)
    {
        string result = graph.Node("MatMul", [x, graph.Parameter(byName[projection.Name + ".weight"], transposes: !projection.InputsFirst)]);
        return projection.HasBias ? graph.Add(result, Vector(projection.Name + ".bias")) : result;
    }

    /// <summary>A feed-forward layer, or a mixture of them.</summary>
    public string FeedForward(FeedForwardDescription part, string x)
    {
        if (part.Experts is { } experts)
            return Mixture(part, experts, x);
        if (!part.IsPacked)
            return Dense(part, x, name => name);
        string[] halves = graph.Split(Linear(part.Up, x), part.IntermediateSize, part.IntermediateSize);
        return Linear(part.Down, graph.Multiply(Activation(part.Activation, halves[0]), halves[1]));
    }

    /// <summary>An activation under the name that <c>config.json</c> has.</summary>
    /// <exception cref="UserException">There is no operator for it.</exception>
    public string Activation(string name, string x)
    {
        Activation activation = ActivationNames.Find(name)!;
        if (activation == Ops.Activation.Silu)
            return graph.Multiply(x, graph.Node("Sigmoid", [x]));
        if (activation == Ops.Activation.GeluErf)
            return Gelu(graph.Node("Erf", [graph.Scale(x, 0.70710678f)]));
        if (activation == Ops.Activation.GeluTanh)
            return Gelu(graph.Node("Tanh", [graph.Scale(graph.Add(x, graph.Scale(graph.Multiply(x, graph.Multiply(x, x)), 0.044715f)), 0.79788456f)]));
        if (activation == Ops.Activation.QuickGelu)
            return graph.Multiply(x, graph.Node("Sigmoid", [graph.Scale(x, 1.702f)]));
        if (activation == Ops.Activation.SquaredRelu)
            return graph.Multiply(graph.Node("Relu", [x]), graph.Node("Relu", [x]));
        if (activation == Ops.Activation.Relu6)
            return graph.Node("Clip", [x, graph.Float(0), graph.Float(6)]);
        if (activation == Ops.Activation.Mish)
            return graph.Multiply(x, graph.Node("Tanh", [graph.Node("Softplus", [x])]));
        if (activation == Ops.Activation.Identity)
            return x;
        string? op = activation == Ops.Activation.Relu ? "Relu" : activation == Ops.Activation.Sigmoid ? "Sigmoid" : activation == Ops.Activation.Tanh ? "Tanh" : activation == Ops.Activation.Softplus ? "Softplus" : null;
        return op is null ? throw new UserException($"the activation \"{name}\" cannot be exported to ONNX; silu, relu, relu2, relu6, mish, sigmoid, softplus, tanh, linear and the kinds of gelu can") : graph.Node(op, [x]);

        string Gelu(string bounded) => graph.Multiply(graph.Scale(x, 0.5f), graph.Add(bounded, graph.Float(1)));
    }

    private string Dense(FeedForwardDescription part, string x, Func<string, string> nameOf)
    {
        string up = Linear(part.Up with { Name = nameOf(part.Up.Name) }, x);
        string hidden = part.Gate is { } gate
            ? graph.Multiply(Activation(part.Activation, Linear(gate with { Name = nameOf(gate.Name) }, x)), up)
            : Activation(part.Activation, up);
        return Linear(part.Down with { Name = nameOf(part.Down.Name) }, hidden);
    }

    /// <summary>Every expert computes every token; the weights of those that a token does not have are 0.</summary>
    private string Mixture(FeedForwardDescription part, ExpertsDescription experts, string x)
    {
        string shares = graph.Node("Softmax", [Linear(experts.Router, x)], ("axis", -1L));
        string[] best = graph.Nodes("TopK", [shares, graph.Integers(experts.PerToken)], 2, ("axis", -1L));
        string chosen = experts.NormalizesWeights ? graph.Node("Div", [best[0], graph.Node("ReduceSum", [best[0], graph.Integers(-1)], ("keepdims", 1L))]) : best[0];
        string weights = graph.Node("ScatterElements", [graph.Multiply(shares, graph.Float(0)), best[1], chosen], ("axis", -1L));
        string? sum = null;
        string[] columns = graph.Split(weights, [.. Enumerable.Repeat(1L, experts.Count)]);
        for (int e = 0; e < experts.Count; e++)
        {
            string output = graph.Multiply(Dense(part, x, name => name.Replace("{e}", $"{e}", StringComparison.Ordinal)), columns[e]);
            sum = sum is null ? output : graph.Add(sum, output);
        }

        return sum!;
    }
}
