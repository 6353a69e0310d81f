using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Scaled dot-product attention (Vaswani et al., 2017).</summary>
public static class AttentionOp
{
    /// <summary>
    /// Self-attention over packed projections: each row holds the query, key and value of one token. Heads are
    /// neighbours within each of the three.
    /// </summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="packed">(batch · length) × 3c.</param>
    /// <param name="batch">Independent sequences.</param>
    /// <param name="heads">Divides c.</param>
    /// <param name="causal">Whether a token sees itself and earlier ones alone.</param>
    /// <param name="dropout">The probability of dropping a weight while training.</param>
    /// <param name="keyBias">batch × length, added to the scores of each key; or null.</param>
    /// <returns>(batch · length) × c.</returns>
    public static Tensor SelfAttention(this Tape tape, Tensor packed, int batch, int heads, bool causal, float dropout = 0, Block? keyBias = null)
    {
        int length = batch == 0 ? 0 : packed.Rows / batch, width = packed.Columns / 3, size = width / heads;
        Tensor output = tape.Output([packed.Rows, width], packed);
        Block data = packed.Data;
        var arguments = new AttentionArguments(data, data.Slice(width, Math.Max(0, data.Length - width)), data.Slice(2 * width, Math.Max(0, data.Length - 2 * width)), output.Data)
        {
            Batch = batch,
            Heads = heads,
            KeyHeads = heads,
            HeadSize = size,
            QueryLength = length,
            KeyLength = length,
            QueryStride = packed.Columns,
            KeyStride = packed.Columns,
            OutputStride = width,
            Causal = causal,
            Scale = 1 / MathF.Sqrt(size),
            KeyBias = keyBias,
            Dropout = tape.IsTraining ? dropout : 0,
            Seed = tape.Seed,
            Stream = tape.IsTraining && dropout > 0 ? tape.RandomStream++ : 0,
            LogSumExp = output.RequiresGradient ? tape.Scratch((long)batch * heads * length) : null,
        };
        tape.Device.AttentionForward(arguments);
        tape.Record(new Gradient(output, packed, arguments, width));
        return output;
    }

    private sealed class Gradient(Tensor output, Tensor packed, AttentionArguments arguments, int width) : Operation(output, packed)
    {
        public override void Backward(Tape tape)
        {
            Block target = tape.GradientOf(packed, out float beta), written = beta == 0 ? target : tape.Scratch(packed.Length);
            tape.Device.AttentionBackward(arguments, new AttentionGradients(
                Output.Gradient!.Value,
                written,
                written.Slice(width, written.Length - width),
                written.Slice(2 * width, written.Length - 2 * width)));
            if (beta != 0)
            {
                tape.Device.Map(new AddRule(), 1, packed.Length, target, written);
                tape.Release(written);
            }

            tape.Release(arguments.LogSumExp!.Value);
        }
    }
}
