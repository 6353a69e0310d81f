using ILGpuOptim.Compute;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>Root mean square normalisation with a gain.</summary>
public sealed class RmsNorm : Layer
{
    private readonly float epsilon;

    /// <summary>Makes a gain of one.</summary>
    public RmsNorm(Initializer initializer, string name, int columns, float epsilon)
    {
        this.epsilon = epsilon;
        Weight = Add(initializer, name + ".weight", 0, 1, columns);
    }

    /// <summary>The gain.</summary>
    public Parameter Weight { get; }

    /// <summary>Normalises each row.</summary>
    public Tensor Forward(Tape tape, Tensor x) => tape.RmsNorm(x, Weight, epsilon);
}

/// <summary>LLaMA's attention: rotated queries and keys, several query heads for each key head (Ainslie et al., 2023).</summary>
public sealed class GroupedQueryAttention : Layer
{
    private readonly Linear[] packed;
    private readonly Linear output;
    private readonly int heads, keyHeads;
    private readonly float dropout;

    /// <summary>Makes the four projections.</summary>
    public GroupedQueryAttention(Initializer initializer, string name, LlamaConfig config)
    {
        (heads, keyHeads, dropout) = (config.Heads, config.KeyHeadCount, config.AttentionDropout);
        int width = heads * config.SizeOfHead, keyWidth = keyHeads * config.SizeOfHead;
        Linear Projection(string part, int inputs, int outputs) =>
            Add(new Linear(initializer, $"{name}.{part}_proj", inputs, outputs, config.InitializerRange, transposed: true, config.AttentionBias));
        packed = [Projection("q", config.Channels, width), Projection("k", config.Channels, keyWidth), Projection("v", config.Channels, keyWidth)];
        output = Projection("o", width, config.Channels);
    }

    /// <summary>residual + attention(x).</summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="x">(batch · length) × columns.</param>
    /// <param name="batch">Independent sequences.</param>
    /// <param name="angles">As <see cref="RotaryAngles.Rows"/> gives them, for each row of x.</param>
    /// <param name="residual">As x.</param>
    public Tensor Forward(Tape tape, Tensor x, int batch, Block angles, Tensor residual) =>
        output.Forward(tape, tape.SelfAttention(Linear.Packed(tape, x, packed), batch, heads, causal: true, dropout, keyHeads: keyHeads, angles: angles), residual);
}

/// <summary>LLaMA's feed-forward layer: down(silu(gate(x)) ∘ up(x)).</summary>
public sealed class GatedMlp : Layer
{
    private readonly Linear gate, up, down;

    /// <summary>Makes the three products.</summary>
    public GatedMlp(Initializer initializer, string name, int columns, int hidden, float deviation, bool bias)
    {
        gate = Add(new Linear(initializer, name + ".gate_proj", columns, hidden, deviation, transposed: true, bias));
        up = Add(new Linear(initializer, name + ".up_proj", columns, hidden, deviation, transposed: true, bias));
        down = Add(new Linear(initializer, name + ".down_proj", hidden, columns, deviation, transposed: true, bias));
    }

    /// <summary>residual + down(silu(gate(x)) ∘ up(x)).</summary>
    public Tensor Forward(Tape tape, Tensor x, Tensor residual) =>
        down.Forward(tape, tape.SwiGlu(x, gate.WeightFor(tape), up.WeightFor(tape), gate.Bias, up.Bias), residual);
}
