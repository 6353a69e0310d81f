using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>The feed-forward layer of a block: down(activation(up x)), or down(activation(gate x) ∘ up x), or a mixture of such experts.</summary>
public sealed class FeedForwardLayer : Layer
{
    private readonly ExpertsLayer? experts;
    private readonly Linear? gate, up, down;
    private readonly Activation activation;
    private readonly float dropout;
    private readonly bool isPacked;

    /// <summary>Makes the projections.</summary>
    /// <param name="initializer">Allocates and fills the parameters.</param>
    /// <param name="description">Projections, activation and dropout.</param>
    /// <param name="hiddenSize">Columns of x and of the result.</param>
    /// <exception cref="ArgumentException">The description contradicts itself.</exception>
    public FeedForwardLayer(Initializer initializer, FeedForwardDescription description, int hiddenSize)
    {
        activation = ActivationNames.Find(description.Activation) ?? throw new ArgumentException($"there is no activation \"{description.Activation}\"", nameof(description));
        (dropout, isPacked) = (description.Dropout, description.IsPacked);
        if (description.Experts is not null)
        {
            experts = Add(new ExpertsLayer(initializer, hiddenSize, description));
            return;
        }

        if (description.Gate is not null && (isPacked || description.Gate.InputsFirst || description.Up.InputsFirst))
            throw new ArgumentException($"feed-forward layer with {description.Up.Name}: a gate is packed with the other product, or both have weights of their own, stored outputs × inputs", nameof(description));
        int intermediateSize = description.IntermediateSize;
        gate = description.Gate is { } gated ? Add(new Linear(initializer, gated, hiddenSize, intermediateSize)) : null;
        up = Add(new Linear(initializer, description.Up, hiddenSize, isPacked ? 2 * intermediateSize : intermediateSize));
        down = Add(new Linear(initializer, description.Down, intermediateSize, hiddenSize));
    }

    /// <summary>The result, plus a residual where there is one.</summary>
    /// <param name="context">The pass.</param>
    /// <param name="x">rows × hidden size.</param>
    /// <param name="residual">As x, added to the result after dropout; or null.</param>
    /// <param name="dropout">The probability of dropout of the result before it is added.</param>
    /// <returns>As x.</returns>
    public Tensor Forward(ForwardContext context, Tensor x, Tensor? residual = null, float dropout = 0)
    {
        Tape tape = context.Tape;
        if (experts is not null)
        {
            Tensor mixed = experts.Forward(tape, x, context.RouterLoss);
            return residual is null ? mixed : tape.Add(residual, tape.Dropout(mixed, dropout));
        }

        Tensor intermediate = tape.Dropout(Intermediate(tape, x), this.dropout);
        return residual is null ? down!.Forward(tape, intermediate) : down!.Forward(tape, intermediate, residual, dropout);
    }

    private Tensor Intermediate(Tape tape, Tensor x) =>
        gate is { HasOneWeight: true } && up is { HasOneWeight: true } ? tape.GatedProduct(x, gate.WeightFor(tape), up!.WeightFor(tape), gate.Bias, up.Bias, activation) :
        gate is not null ? gate.Forward(tape, x, activation) * up!.Forward(tape, x) :
        isPacked ? tape.Gated(up!.Forward(tape, x), activation) :
        up!.Forward(tape, x, activation);
}
