using ILGpuOptim.Compute;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>A block of BERT: attention in both directions and a feed-forward layer, each normalised after its residual.</summary>
public sealed class BertLayer : Layer
{
    private readonly Linear[] packed;
    private readonly Linear mixed, inner, outer;
    private readonly LayerNorm first, second;
    private readonly int heads;
    private readonly float dropout, attentionDropout;
    private readonly Activation activation;

    /// <summary>Makes the six products and two normalisations.</summary>
    public BertLayer(Initializer initializer, string name, BertConfig config)
    {
        (heads, dropout, attentionDropout) = (config.Heads, config.HiddenDropout, config.AttentionDropout);
        activation = ActivationNames.Find(config.Activation)!.Value;
        int columns = config.Channels;
        Linear Product(string part, int inputs, int outputs) =>
            Add(new Linear(initializer, $"{name}.{part}", inputs, outputs, config.InitializerRange, transposed: true));
        LayerNorm Norm(string part) => Add(new LayerNorm(initializer, $"{name}.{part}.LayerNorm", columns, config.LayerNormEpsilon));
        packed = [Product("attention.self.query", columns, columns), Product("attention.self.key", columns, columns), Product("attention.self.value", columns, columns)];
        mixed = Product("attention.output.dense", columns, columns);
        first = Norm("attention.output");
        inner = Product("intermediate.dense", columns, config.Inner);
        outer = Product("output.dense", config.Inner, columns);
        second = Norm("output");
    }

    /// <summary>norm(y + ffn(y)) with y = norm(x + attention(x)).</summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="x">(batch · length) × columns.</param>
    /// <param name="batch">Independent sequences.</param>
    /// <param name="keyBias">As in <see cref="AttentionOp.SelfAttention"/>.</param>
    public Tensor Forward(Tape tape, Tensor x, int batch, Block? keyBias)
    {
        Tensor attended = tape.SelfAttention(Linear.Packed(tape, x, packed), batch, heads, causal: false, attentionDropout, keyBias);
        x = first.Forward(tape, mixed.Forward(tape, attended, x, dropout));
        return second.Forward(tape, outer.Forward(tape, inner.Forward(tape, x, activation), x, dropout));
    }
}
