using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Models;

/// <summary>
/// BERT with its masked-language-model head (Devlin et al., 2019): post-norm blocks that see both directions, learned
/// positions and segments, exact GELU, tied head. Names and layouts are those of Hugging Face's files.
/// </summary>
public sealed class Bert : LanguageModel
{
    private readonly BertConfig config;
    private readonly Embedding words, positions, segments;
    private readonly LayerNorm norm, headNorm;
    private readonly Dropout dropout;
    private readonly BertLayer[] layers;
    private readonly Linear transform;
    private readonly Bias bias;
    private readonly PositionIds positionIds = new();
    private int[] firstSegments = [];

    /// <summary>Makes a model with normal weights of one deviation.</summary>
    public Bert(BertConfig config, Initializer initializer)
    {
        config.Check("BERT");
        this.config = config;
        float deviation = config.InitializerRange;
        words = Add(new Embedding(initializer, "bert.embeddings.word_embeddings", config.Vocabulary, config.Channels, deviation));
        positions = Add(new Embedding(initializer, "bert.embeddings.position_embeddings", config.ContextLength, config.Channels, deviation));
        segments = Add(new Embedding(initializer, "bert.embeddings.token_type_embeddings", config.Segments, config.Channels, deviation));
        norm = Add(new LayerNorm(initializer, "bert.embeddings.LayerNorm", config.Channels, config.LayerNormEpsilon));
        dropout = new Dropout(config.HiddenDropout);
        layers = new BertLayer[config.Layers];
        for (int i = 0; i < layers.Length; i++)
            layers[i] = Add(new BertLayer(initializer, $"bert.encoder.layer.{i}", config));
        transform = Add(new Linear(initializer, "cls.predictions.transform.dense", config.Channels, config.Channels, deviation, transposed: true));
        headNorm = Add(new LayerNorm(initializer, "cls.predictions.transform.LayerNorm", config.Channels, config.LayerNormEpsilon));
        bias = Add(new Bias(initializer, "cls.predictions.bias", config.Vocabulary));
    }

    /// <inheritdoc/>
    public override ModelConfig Config => config;

    /// <inheritdoc/>
    public override bool IsCausal => false;

    /// <inheritdoc/>
    public override Parameter Head => words.Weight;

    /// <inheritdoc/>
    public override Parameter? HeadBias => bias.Value;

    /// <inheritdoc/>
    public override Tensor Hidden(Tape tape, ReadOnlySpan<int> tokens, int batch) => Transform(tape, Encode(tape, tokens, batch));

    /// <summary>What the head reads: the states through a layer, its activation and a normalisation.</summary>
    public Tensor Transform(Tape tape, Tensor states) => headNorm.Forward(tape, transform.Forward(tape, states, ActivationNames.Find(config.Activation)!.Value));

    /// <summary>The states of the last layer, without the head.</summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="tokens">batch · length ids.</param>
    /// <param name="batch">How many sequences.</param>
    /// <param name="segments">The segment of each token; empty means the first everywhere.</param>
    /// <param name="mask">1 for tokens that are seen, 0 for padding; empty means that all are seen.</param>
    /// <returns>(batch · length) × columns.</returns>
    public Tensor Encode(Tape tape, ReadOnlySpan<int> tokens, int batch, ReadOnlySpan<int> segments = default, ReadOnlySpan<int> mask = default)
    {
        int length = LengthOf(tokens, batch);
        if (segments.IsEmpty)
        {
            if (firstSegments.Length != tokens.Length)
                firstSegments = new int[tokens.Length];
            segments = firstSegments;
        }

        if (segments.Length != tokens.Length || (!mask.IsEmpty && mask.Length != tokens.Length))
            throw new ArgumentException($"{tokens.Length} tokens need as many segments ({segments.Length}) and mask values ({mask.Length})", nameof(segments));
        foreach (int segment in segments)
        {
            if ((uint)segment >= (uint)config.Segments)
                throw new ArgumentOutOfRangeException(nameof(segments), segment, $"the model has {config.Segments} segments");
        }

        Tensor x = positions.Forward(tape, tape.Indices(positionIds.Of(tokens.Length, length)));
        x = this.segments.Forward(tape, tape.Indices(segments), x);
        x = dropout.Forward(tape, norm.Forward(tape, words.Forward(tape, tape.Indices(tokens), x)));
        Block? keyBias = mask.IsEmpty ? null : KeyBias(tape, mask);
        foreach (BertLayer layer in layers)
            x = layer.Forward(tape, x, batch, keyBias);
        return x;
    }

    /// <inheritdoc/>
    public override Tensor Loss(Tape tape, ReadOnlySpan<int> tokens, ReadOnlySpan<int> targets, int batch, float scale = 1) =>
        Loss(tape, tokens, targets, batch, [], [], scale);

    /// <summary>The same with segments and padding; see <see cref="Encode"/>.</summary>
    public Tensor Loss(Tape tape, ReadOnlySpan<int> tokens, ReadOnlySpan<int> targets, int batch, ReadOnlySpan<int> segments, ReadOnlySpan<int> mask, float scale = 1)
    {
        if (targets.Length != tokens.Length)
            throw new ArgumentException($"{targets.Length} targets for {tokens.Length} tokens", nameof(targets));
        Tensor states = Encode(tape, tokens, batch, segments, mask);

        // The head is as costly as some layers, and most positions predict nothing.
        (int[] rows, int[] counted) = Counted(targets);
        states = tape.Embedding(states, tape.Indices(rows));
        return tape.CrossEntropy(Transform(tape, states), Head, HeadBias, counted, scale);
    }

    /// <summary><see cref="LanguageModel.Logits"/> with segments and padding; see <see cref="Encode"/>.</summary>
    public Tensor Logits(Tape tape, ReadOnlySpan<int> tokens, int batch, ReadOnlySpan<int> segments, ReadOnlySpan<int> mask) =>
        tape.Linear(Transform(tape, Encode(tape, tokens, batch, segments, mask)), Head, HeadBias, transposed: true);

    /// <inheritdoc/>
    public override int[] TargetsOf(ReadOnlySpan<int> labels, int batch) => labels.ToArray();

    /// <summary>The positions with a target, and those targets.</summary>
    internal static (int[] Rows, int[] Targets) Counted(ReadOnlySpan<int> targets)
    {
        int count = 0, next = 0;
        foreach (int target in targets)
            count += target >= 0 ? 1 : 0;
        int[] rows = new int[count], counted = new int[count];
        for (int i = 0; i < targets.Length; i++)
        {
            if (targets[i] >= 0)
                (rows[next], counted[next++]) = (i, targets[i]);
        }

        return (rows, counted);
    }

    private static Block KeyBias(Tape tape, ReadOnlySpan<int> mask)
    {
        var values = new float[mask.Length];
        for (int i = 0; i < values.Length; i++)
            values[i] = mask[i] != 0 ? 0 : float.NegativeInfinity;
        return tape.Numbers(values);
    }

    /// <summary>A vector that is added to every row of logits.</summary>
    private sealed class Bias : Layer
    {
        public Bias(Initializer initializer, string name, int length) => Value = Add(initializer, name, 0, 0, length);

        public Parameter Value { get; }
    }
}
