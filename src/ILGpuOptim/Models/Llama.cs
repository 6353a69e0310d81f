using ILGpuOptim.Compute;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>
/// LLaMA (Touvron et al., 2023): pre-norm blocks with RMSNorm, rotary positions, grouped-query attention and gated
/// feed-forward layers. Names and layouts are those of Hugging Face's files.
/// </summary>
public sealed class Llama : LanguageModel
{
    private readonly LlamaConfig config;
    private readonly Embedding tokens;
    private readonly (RmsNorm First, GroupedQueryAttention Attention, RmsNorm Second, GatedMlp Mlp)[] blocks;
    private readonly RmsNorm last;
    private readonly Linear? head;
    private readonly PositionIds positionIds = new();

    /// <summary>Makes a model with normal weights of one deviation, as Hugging Face's library does.</summary>
    public Llama(LlamaConfig config, Initializer initializer)
    {
        config.Check("LLaMA");
        this.config = config;
        Angles = new RotaryAngles(config.Rotary);
        float deviation = config.InitializerRange;
        tokens = Add(new Embedding(initializer, "model.embed_tokens", config.Vocabulary, config.Channels, deviation));
        blocks = new (RmsNorm, GroupedQueryAttention, RmsNorm, GatedMlp)[config.Layers];
        for (int i = 0; i < blocks.Length; i++)
        {
            string name = $"model.layers.{i}.";
            RmsNorm first = Add(new RmsNorm(initializer, name + "input_layernorm", config.Channels, config.NormEpsilon));
            GroupedQueryAttention attention = Add(new GroupedQueryAttention(initializer, name + "self_attn", config));
            RmsNorm second = Add(new RmsNorm(initializer, name + "post_attention_layernorm", config.Channels, config.NormEpsilon));
            GatedMlp mlp = Add(new GatedMlp(initializer, name + "mlp", config.Channels, config.Inner, deviation, config.MlpBias));
            blocks[i] = (first, attention, second, mlp);
        }

        last = Add(new RmsNorm(initializer, "model.norm", config.Channels, config.NormEpsilon));
        if (!config.TieWordEmbeddings)
            head = Add(new Linear(initializer, "lm_head", config.Channels, config.Vocabulary, deviation, transposed: true, bias: false, ParameterRole.Other));
    }

    /// <inheritdoc/>
    public override ModelConfig Config => config;

    /// <inheritdoc/>
    public override Parameter Head => (head?.Weight ?? tokens.Weight)!;

    /// <summary>The angles of its positions, for decoding from an offset.</summary>
    public RotaryAngles Angles { get; }

    /// <inheritdoc/>
    public override Tensor Hidden(Tape tape, ReadOnlySpan<int> tokens, int batch)
    {
        int length = LengthOf(tokens, batch);
        Block angles = Angles.Rows(tape, positionIds.Of(tokens.Length, length));
        Tensor x = this.tokens.Forward(tape, tape.Indices(tokens));
        foreach (var (first, attention, second, mlp) in blocks)
        {
            x = attention.Forward(tape, first.Forward(tape, x), batch, angles, x);
            x = mlp.Forward(tape, second.Forward(tape, x), x);
        }

        return last.Forward(tape, x);
    }
}
