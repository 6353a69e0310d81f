using ILGpuOptim.Models;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>The feed-forward part of a block: down(activation(up x)), or down(activation(gate x) ∘ up x).</summary>
public sealed class FeedForwardLayer : Layer
{
    private readonly Linear? gate;
    private readonly Linear up, down;
    private readonly Activation activation;
    private readonly float dropout;

    /// <summary>Makes the products.</summary>
    /// <param name="initializer">Where and how.</param>
    /// <param name="description">Which products, and what is between them.</param>
    /// <param name="hiddenSize">Columns of x and of the result.</param>
    public FeedForwardLayer(Initializer initializer, FeedForwardDescription description, int hiddenSize)
    {
        int inner = description.IntermediateSize;
        gate = description.Gate is { } gated ? Add(new Linear(initializer, gated, hiddenSize, inner)) : null;
        up = Add(new Linear(initializer, description.Up, hiddenSize, inner));
        down = Add(new Linear(initializer, description.Down, inner, hiddenSize));
        activation = ActivationNames.Find(description.Activation) ?? throw new ArgumentException($"there is no activation \"{description.Activation}\"", nameof(description));
        dropout = description.Dropout;
    }

    /// <summary>The result, plus a residual where there is one.</summary>
    /// <param name="context">The pass.</param>
    /// <param name="x">rows × hidden size.</param>
    /// <param name="residual">As x, added to the result after dropout; or null.</param>
    /// <param name="dropout">Of the result before it is added.</param>
    /// <returns>As x.</returns>
    public Tensor Forward(ForwardContext context, Tensor x, Tensor? residual = null, float dropout = 0)
    {
        Tape tape = context.Tape;
        Tensor inner = tape.Dropout(Inner(tape, x), this.dropout);
        return residual is null ? down.Forward(tape, inner) : down.Forward(tape, inner, residual, dropout);
    }

    private Tensor Inner(Tape tape, Tensor x) => gate is null
        ? up.Forward(tape, x, activation)
        : tape.GatedProduct(x, gate.WeightFor(tape), up.WeightFor(tape), gate.Bias, up.Bias, activation);
}
