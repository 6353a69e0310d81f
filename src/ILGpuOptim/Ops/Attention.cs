using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Scaled dot-product attention (Vaswani et al., 2017).</summary>
public static class AttentionOp
{
    /// <summary>
    /// Self-attention over packed projections: each row holds the queries, keys and values of one token. Heads are
    /// neighbours within each of the three.
    /// </summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="packed">(batch · length) × (heads + 2 · keyHeads) · size. Rotated in place when there are <paramref name="angles"/>.</param>
    /// <param name="batch">Independent sequences.</param>
    /// <param name="heads">Query heads.</param>
    /// <param name="causal">Whether attention is causal: a token attends to itself and earlier ones.</param>
    /// <param name="dropout">The probability of dropping a weight while training.</param>
    /// <param name="keyBias">batch × length, added to the scores of each key; or null.</param>
    /// <param name="keyHeads">Key and value heads, a divisor of <paramref name="heads"/>; 0 means as many.</param>
    /// <param name="angles">
    /// (batch · length) × size: the cosines and sines of each row's position by which queries and keys are turned
    /// (RoPE; Su et al., 2021), as <see cref="RotationArguments"/> has them; or null.
    /// </param>
    /// <param name="scale">What the scores are multiplied by; null means 1 / √size.</param>
    /// <returns>(batch · length) × heads · size.</returns>
    public static Tensor SelfAttention(this Tape tape, Tensor packed, int batch, int heads, bool causal, float dropout = 0, Block? keyBias = null, int keyHeads = 0, Block? angles = null, float? scale = null)
    {
        keyHeads = keyHeads == 0 ? heads : keyHeads;
        int length = batch == 0 ? 0 : packed.Rows / batch, size = packed.Columns / (heads + 2 * keyHeads), width = heads * size, keyWidth = keyHeads * size;
        if (packed.Columns != width + 2 * keyWidth)
            throw new ArgumentException($"{packed} does not hold {heads} query heads and {keyHeads} key and value heads of one size", nameof(packed));
        if (angles is not null && packed.IsKept)
            throw new ArgumentException("packed projections are rotated in place, so nobody may read them afterwards", nameof(packed));
        Tensor output = tape.Output([packed.Rows, width], packed);
        Block data = packed.Data;
        RotationArguments? rotation = angles is not { } turned ? null : new RotationArguments(data, turned)
        {
            Rows = packed.Rows,
            Heads = heads + keyHeads,
            HeadSize = size,
            Stride = packed.Columns,
        };
        if (rotation is { } turn)
            tape.Device.Rotate(turn);
        var arguments = new AttentionArguments(data, From(data, width), From(data, width + keyWidth), output.Data)
        {
            Batch = batch,
            Heads = heads,
            KeyHeads = keyHeads,
            HeadSize = size,
            QueryLength = length,
            KeyLength = length,
            QueryStride = packed.Columns,
            KeyStride = packed.Columns,
            OutputStride = width,
            Causal = causal,
            Scale = scale ?? 1 / MathF.Sqrt(size),
            KeyBias = keyBias,
            Dropout = tape.IsTraining ? dropout : 0,
            Seed = tape.Seed,
            Stream = tape.IsTraining && dropout > 0 ? tape.RandomStream++ : 0,
            LogSumExp = output.RequiresGradient ? tape.Scratch((long)batch * heads * length) : null,
        };
        tape.Device.AttentionForward(arguments);
        tape.Record(new Gradient(output, packed, arguments, rotation));
        return output;
    }

    private static Block From(in Block packed, int start) => packed.Slice(Math.Min(start, packed.Length), Math.Max(0, packed.Length - start));

    private sealed class Gradient(Tensor output, Tensor packed, AttentionArguments arguments, RotationArguments? rotation) : Operation(output, packed)
    {
        public override void Backward(Tape tape)
        {
            int width = arguments.Heads * arguments.HeadSize, keyWidth = arguments.KeyHeads * arguments.HeadSize;
            Block target = tape.GradientOf(packed, out float beta), written = beta == 0 ? target : tape.Scratch(packed.Length);
            tape.Device.AttentionBackward(arguments, new AttentionGradients(Output.Gradient!.Value, written, From(written, width), From(written, width + keyWidth)));
            if (rotation is { } turn)
                tape.Device.Rotate(turn with { Target = written, Backwards = true });
            if (beta != 0)
            {
                tape.Device.Map(new AddRule(), 1, packed.Length, target, written);
                tape.Release(written);
            }

            tape.Release(arguments.LogSumExp!.Value);
        }
    }
}
