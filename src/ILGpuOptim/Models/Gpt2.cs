using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Models;

/// <summary>
/// GPT-2 (Radford et al., 2019): pre-norm blocks, learned positions, tied head, biases everywhere. Names and layouts
/// are those of Hugging Face's files.
/// </summary>
public sealed class Gpt2 : LanguageModel
{
    private readonly Gpt2Config config;
    private readonly Embedding tokens, positions;
    private readonly Dropout dropout;
    private readonly (LayerNorm First, CausalSelfAttention Attention, LayerNorm Second, Mlp Mlp)[] blocks;
    private readonly LayerNorm last;
    private readonly PositionIds positionIds = new();

    /// <summary>Makes a model with GPT-2's initialisation.</summary>
    public Gpt2(Gpt2Config config, Initializer initializer)
    {
        config.Check("GPT-2");
        this.config = config;
        float deviation = config.InitializerRange, residual = deviation / MathF.Sqrt(2 * config.Layers);
        Activation activation = ActivationNames.Find(config.ActivationFunction)!.Value;
        tokens = Add(new Embedding(initializer, "wte", config.Vocabulary, config.Channels, deviation));
        positions = Add(new Embedding(initializer, "wpe", config.ContextLength, config.Channels, deviation));
        dropout = new Dropout(config.EmbeddingDropout);
        blocks = new (LayerNorm, CausalSelfAttention, LayerNorm, Mlp)[config.Layers];
        for (int i = 0; i < blocks.Length; i++)
        {
            LayerNorm first = Add(new LayerNorm(initializer, $"h.{i}.ln_1", config.Channels, config.LayerNormEpsilon));
            CausalSelfAttention attention = Add(new CausalSelfAttention(initializer, $"h.{i}.attn", config.Channels, config.Heads, deviation, residual, config.AttentionDropout, config.ResidualDropout) { Scale = config.AttentionScale(i) });
            LayerNorm second = Add(new LayerNorm(initializer, $"h.{i}.ln_2", config.Channels, config.LayerNormEpsilon));
            Mlp mlp = Add(new Mlp(initializer, $"h.{i}.mlp", config.Channels, config.InnerWidth, deviation, residual, config.ResidualDropout) { Activation = activation });
            blocks[i] = (first, attention, second, mlp);
        }

        last = Add(new LayerNorm(initializer, "ln_f", config.Channels, config.LayerNormEpsilon));
    }

    /// <inheritdoc/>
    public override ModelConfig Config => config;

    /// <inheritdoc/>
    public override Parameter Head => tokens.Weight;

    /// <inheritdoc/>
    public override Tensor Hidden(Tape tape, ReadOnlySpan<int> tokens, int batch)
    {
        int length = LengthOf(tokens, batch);
        Tensor x = positions.Forward(tape, tape.Indices(positionIds.Of(tokens.Length, length)));
        x = dropout.Forward(tape, this.tokens.Forward(tape, tape.Indices(tokens), x));
        foreach (var (first, attention, second, mlp) in blocks)
        {
            x = attention.Forward(tape, first.Forward(tape, x), batch, x);
            x = mlp.Forward(tape, second.Forward(tape, x), x);
        }

        return last.Forward(tape, x);
    }
}
