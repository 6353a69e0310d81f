using ILGpuOptim.Compute;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>
/// A feed-forward layer of which each token uses a few of many experts: Σ s_e · expert_e(x) over the experts that a router chose; see
/// <see cref="RouterOp.Route"/>. Each expert computes the tokens that chose it, and no others.
/// </summary>
public sealed class ExpertsLayer : Layer
{
    private readonly ExpertsDescription description;
    private readonly Linear router;
    private readonly Expert[] experts;

    /// <summary>Makes the router, then expert after expert.</summary>
    /// <param name="initializer">Where and how.</param>
    /// <param name="columns">Columns of x, the hidden size.</param>
    /// <param name="description">With <see cref="FeedForwardDescription.Experts"/>; names of projections contain <c>{e}</c>.</param>
    /// <exception cref="ArgumentException">The description has no experts, or packs the gate with another product.</exception>
    public ExpertsLayer(Initializer initializer, int columns, FeedForwardDescription description)
    {
        this.description = description.Experts ?? throw new ArgumentException("the description has no experts", nameof(description));
        if (description.IsPacked)
            throw new ArgumentException("experts have a gate of their own; a packed one is not supported", nameof(description));
        if (this.description.PerToken < 1 || this.description.PerToken > this.description.Count)
            throw new ArgumentException($"each token is computed by 1 to {this.description.Count} experts, not {this.description.PerToken}", nameof(description));
        router = Add(new Linear(initializer, this.description.Router, columns, Count, ParameterRole.Other));
        experts = new Expert[Count];
        for (int e = 0; e < Count; e++)
            experts[e] = Add(new Expert(initializer, columns, description, e));
    }

    /// <summary>Experts.</summary>
    public int Count => description.Count;

    /// <summary>Σ s_e · expert_e(x). Waits for the device, because experts are chosen on the host.</summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="x">tokens × columns.</param>
    /// <param name="loss">Collects what the router does; or null.</param>
    /// <returns>As <paramref name="x"/>.</returns>
    public Tensor Forward(Tape tape, Tensor x, RouterLoss? loss = null)
    {
        x = tape.Jitter(x, description.Jitter);
        RouterChoice choice = tape.Route(router.Forward(tape, x), description.PerToken, description.Normalizes, loss);
        var results = new Tensor?[Count];
        for (int e = 0; e < Count; e++)
        {
            // An expert without tokens is computed for its gradient of zero: the optimizer decays its weights as it does the others'.
            if (tape.IsRecording || choice.CountOf(e) > 0)
                results[e] = experts[e].Forward(tape, tape.Embedding(x, choice.TokensOf(e)));
        }

        return tape.ExpertSum(choice, results, x.Columns);
    }

    /// <summary>down(activation(gate(x)) ∘ up(x)), or down(activation(up(x))) without a gate.</summary>
    private sealed class Expert : Layer
    {
        private readonly Linear gate, up, down;
        private readonly Activation activation;
        private readonly float dropout;

        public Expert(Initializer initializer, int columns, FeedForwardDescription description, int number)
        {
            if (description.Gate is null)
                throw new ArgumentException("experts have a gate; those without are not supported yet", nameof(description));
            activation = ActivationNames.Find(description.Activation) ?? throw new ArgumentException($"there is no activation \"{description.Activation}\"", nameof(description));
            dropout = description.Dropout;
            Linear Projection(ProjectionDescription part, int inputs, int outputs) => Add(new Linear(
                initializer, part with { Name = part.Name.Replace("{e}", $"{number}", StringComparison.Ordinal) }, inputs, outputs));
            gate = Projection(description.Gate, columns, description.IntermediateSize);
            up = Projection(description.Up, columns, description.IntermediateSize);
            down = Projection(description.Down, description.IntermediateSize, columns);
        }

        public Tensor Forward(Tape tape, Tensor x)
        {
            Tensor hidden = tape.GatedProduct(x, gate.WeightFor(tape), up.WeightFor(tape), gate.Bias, up.Bias, activation);
            return down.Forward(tape, tape.Dropout(hidden, dropout));
        }
    }
}
