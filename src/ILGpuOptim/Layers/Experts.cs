using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>
/// A mixture of experts: Σ s_e · expert_e(x) over the few feed-forward experts that a router chose for each token; see <see cref="RouterOp.Route"/>.
/// Each expert computes only the tokens that it was chosen for.
/// </summary>
public sealed class ExpertsLayer : Layer
{
    private readonly ExpertsDescription description;
    private readonly Linear router;
    private readonly Linear[]? gates;
    private readonly Linear[] ups, downs;
    private readonly Activation activation;
    private readonly float dropout;

    /// <summary>Makes the router, then expert after expert.</summary>
    /// <param name="initializer">Allocates and fills the parameters.</param>
    /// <param name="columns">Columns of x, the hidden size.</param>
    /// <param name="description">With <see cref="FeedForwardDescription.Experts"/>; names of projections contain <c>{e}</c>.</param>
    /// <exception cref="ArgumentException">The description has no experts, or asks for what they do not have: packed gates, biases, weights stored inputs × outputs.</exception>
    public ExpertsLayer(Initializer initializer, int columns, FeedForwardDescription description)
    {
        this.description = description.Experts ?? throw new ArgumentException("the description has no experts", nameof(description));
        int perToken = this.description.PerToken, intermediateSize = description.IntermediateSize;
        if (perToken < 1 || perToken > Count)
            throw new ArgumentException($"each token is computed by 1 to {Count} experts, not {perToken}", nameof(description));
        if (description.IsPacked)
            throw new ArgumentException("experts have a gate of their own; a packed one is not supported", nameof(description));
        activation = ActivationNames.Find(description.Activation) ?? throw new ArgumentException($"there is no activation \"{description.Activation}\"", nameof(description));
        dropout = description.Dropout;
        router = Add(new Linear(initializer, this.description.Router, columns, Count, ParameterRole.Other));
        gates = description.Gate is null ? null : new Linear[Count];
        (ups, downs) = (new Linear[Count], new Linear[Count]);
        for (int e = 0; e < Count; e++)
        {
            if (gates is not null)
                gates[e] = Projection(description.Gate!, e, columns, intermediateSize);
            ups[e] = Projection(description.Up, e, columns, intermediateSize);
            downs[e] = Projection(description.Down, e, intermediateSize, columns);
        }

        Linear Projection(ProjectionDescription projection, int expert, int inputs, int outputs)
        {
            if (projection.HasBias || projection.InputsFirst)
                throw new ArgumentException($"{projection.Name}: weights of experts are outputs × inputs, without biases", nameof(description));
            return Add(new Linear(initializer, projection with { Name = projection.Name.Replace("{e}", $"{expert}", StringComparison.Ordinal) }, inputs, outputs, ParameterRole.Expert));
        }
    }

    /// <summary>The number of experts.</summary>
    public int Count => description.Count;

    /// <summary>Σ s_e · expert_e(x). Waits for the device, because experts are chosen on the host.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">tokens × columns.</param>
    /// <param name="loss">Collects the router's probabilities and choices; or null.</param>
    /// <returns>As <paramref name="x"/>.</returns>
    public Tensor Forward(Tape tape, Tensor x, RouterLoss? loss = null)
    {
        x = tape.Jitter(x, description.Jitter);
        RouterChoice choice = tape.Route(router.Forward(tape, x), description.PerToken, description.NormalizesWeights, loss);
        Tensor rows = tape.ToExperts(choice, x);
        Tensor hidden = gates is null
            ? tape.Activate(tape.ExpertLinear(choice, rows, Weights(tape, ups)), activation)
            : tape.Gated(tape.ExpertLinear(choice, rows, Weights(tape, gates), Weights(tape, ups)), activation);
        return tape.FromExperts(choice, tape.ExpertLinear(choice, tape.Dropout(hidden, dropout), Weights(tape, downs)));
    }

    private static Tensor[] Weights(Tape tape, Linear[] layers) => [.. layers.Select(layer => layer.WeightFor(tape))];
}
