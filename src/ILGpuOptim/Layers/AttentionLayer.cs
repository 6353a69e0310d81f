using ILGpuOptim.Compute;
using ILGpuOptim.Generation;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>Scaled dot-product attention with its projections: output(softmax(scale · q kᵀ) v).</summary>
public sealed class AttentionLayer : Layer
{
    private readonly AttentionDescription description;
    private readonly Linear[] inputs;
    private readonly Linear output;
    private readonly int index, rotation, width, keyWidth;
    private readonly bool isCausal;

    /// <summary>Makes the projections.</summary>
    /// <param name="initializer">Where and how.</param>
    /// <param name="description">What is computed.</param>
    /// <param name="hiddenSize">Columns of x and of the result.</param>
    /// <param name="index">The number of its block, which is its place in a cache.</param>
    /// <param name="rotation">The number of its kind of rotary positions; -1 for none.</param>
    /// <param name="isCausal">Whether a token sees itself and earlier ones only.</param>
    public AttentionLayer(Initializer initializer, AttentionDescription description, int hiddenSize, int index, int rotation, bool isCausal)
    {
        (this.description, this.index, this.rotation, this.isCausal) = (description, index, rotation, isCausal);
        (width, keyWidth) = (description.Heads * description.HeadSize, description.KeyHeads * description.HeadSize);
        inputs = description.Inputs is [var packed]
            ? [Add(new Linear(initializer, packed, hiddenSize, width + 2 * keyWidth))]
            : [Input(0, width), Input(1, keyWidth), Input(2, keyWidth)];
        output = Add(new Linear(initializer, description.Output, width, hiddenSize));

        Linear Input(int part, int columns) => Add(new Linear(initializer, description.Inputs[part], hiddenSize, columns));
    }

    /// <summary>Numbers of a token's keys, and as many of its values.</summary>
    internal int KeyWidth => keyWidth;

    /// <summary>Self-attention, plus a residual where there is one.</summary>
    /// <param name="context">The pass.</param>
    /// <param name="x">(sequences · length) × hidden size.</param>
    /// <param name="residual">As x, added to the result after dropout; or null.</param>
    /// <param name="dropout">Of the result before it is added.</param>
    /// <returns>As x.</returns>
    public Tensor Forward(ForwardContext context, Tensor x, Tensor? residual = null, float dropout = 0)
    {
        Tape tape = context.Tape;
        Tensor packed = inputs.Length == 1 ? inputs[0].Forward(tape, x) : Linear.Packed(tape, x, inputs);
        Tensor mixed = context.Cache is { } cache
            ? Decode(context, cache, packed)
            : tape.SelfAttention(packed, context.Sequences, description.Heads, isCausal, description.Dropout, context.KeyBias, description.KeyHeads, Angles(context), description.Scale);
        return residual is null ? output.Forward(tape, mixed) : output.Forward(tape, mixed, residual, dropout);
    }

    private Block? Angles(ForwardContext context) => rotation < 0 ? null : context.Angles(rotation);

    /// <summary>Keeps the keys and values of new tokens and lets these attend to all tokens of their sequences so far.</summary>
    private Tensor Decode(ForwardContext context, CacheWindow cache, Tensor packed)
    {
        Device device = context.Tape.Device;
        if (Angles(context) is { } angles)
            device.Rotate(new RotationArguments(packed.Data, angles) { Rows = packed.Rows, Heads = description.Heads + description.KeyHeads, HeadSize = description.HeadSize, Stride = packed.Columns });
        cache.Append(index, 0, packed.Data.Slice(width, packed.Length - width), packed.Columns, 2 * keyWidth);
        Block keys = cache.Keys(index), values = keys.Slice(keyWidth, keys.Length - keyWidth);
        Tensor mixed = context.Tape.Output([packed.Rows, width]);
        device.AttentionForward(new AttentionArguments(packed.Data, keys, values, mixed.Data)
        {
            Batch = context.Sequences,
            Heads = description.Heads,
            KeyHeads = description.KeyHeads,
            HeadSize = description.HeadSize,
            QueryLength = context.Length,
            KeyLength = cache.KeyLength,
            KeyCapacity = cache.Capacity,
            QueryStride = packed.Columns,
            KeyStride = 2 * keyWidth,
            OutputStride = width,
            Causal = true,
            Scale = description.Scale,
            KeyBias = context.KeyBias,
        });
        return mixed;
    }
}
