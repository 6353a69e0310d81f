using ILGpuOptim.Compute;
using ILGpuOptim.Generation;
using ILGpuOptim.Layers;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Models;

/// <summary>
/// The transformer of every family (Vaswani et al., 2017), built from a description. One forward pass serves training, evaluation and
/// decoding; a <see cref="ForwardContext"/> says which. Names, layouts and the order of parameters are those of Hugging Face's files.
/// </summary>
public class Transformer : LanguageModel
{
    private readonly TransformerEmbedding embedding;
    private readonly TransformerStack stack;
    private readonly LanguageModelHead head;
    private readonly RotaryKinds rotations = new();
    private readonly BatchRows rows = new();

    /// <summary>Makes a model with fresh parameters.</summary>
    /// <param name="config">Its configuration, which describes it.</param>
    /// <param name="initializer">Where the parameters are, and their random numbers.</param>
    /// <exception cref="UserException">The configuration contradicts itself.</exception>
    public Transformer(ModelConfig config, Initializer initializer)
    {
        config.Check(config.Family);
        Config = config;
        Description = config.Describe();
        embedding = Add(new TransformerEmbedding(initializer, Description.Embedding, Description.VocabularySize, Description.HiddenSize));
        stack = Add(new TransformerStack(initializer, Description, rotations));
        head = Add(new LanguageModelHead(initializer, Description.Head, Description.HiddenSize, embedding.Tokens));
    }

    /// <inheritdoc/>
    public override ModelConfig Config { get; }

    /// <summary>What it computes.</summary>
    public TransformerDescription Description { get; }

    /// <inheritdoc/>
    public override bool IsCausal => Description.IsCausal;

    /// <inheritdoc/>
    public override Parameter Head => head.Weight;

    /// <inheritdoc/>
    public override Parameter? HeadBias => head.Bias;

    /// <summary>Numbers of a token's keys in each block, for a cache.</summary>
    internal IReadOnlyList<int> KeyWidths => stack.KeyWidths;

    /// <inheritdoc/>
    public override Tensor Hidden(Tape tape, in TokenBatch batch) => head.Transform(tape, States(tape, batch));

    /// <inheritdoc/>
    public override Tensor Logits(Tape tape, in TokenBatch batch) => head.Logits(tape, States(tape, batch));

    /// <inheritdoc/>
    public override Tensor LogitsOf(Tape tape, in TokenBatch batch, ReadOnlySpan<int> rows) =>
        head.Logits(tape, tape.Embedding(States(tape, batch), tape.Indices(rows)));

    /// <inheritdoc/>
    public override LossParts Losses(Tape tape, in TokenBatch batch, ReadOnlySpan<int> targets, float scale = 1)
    {
        if (targets.Length != batch.Tokens.Length)
            throw new ArgumentException($"{targets.Length} targets for {batch.Tokens.Length} tokens", nameof(targets));
        Tensor loss = head.Loss(tape, States(tape, batch), targets, scale);
        return new LossParts(loss, loss, null);
    }

    /// <inheritdoc/>
    public override int[] TargetsOf(ReadOnlySpan<int> labels, int batch) => IsCausal ? base.TargetsOf(labels, batch) : labels.ToArray();

    /// <summary>The states after the last block and the final norm, (sequences · length) × hidden size.</summary>
    private Tensor States(Tape tape, in TokenBatch batch)
    {
        int length = batch.LengthFor(this);
        var context = new ForwardContext(tape, batch.Sequences, length, rotations.Count)
        {
            KeyBias = batch.Mask.IsEmpty ? null : tape.Numbers(BatchRows.KeyBias(batch.Mask)),
            Ranges = batch.Documents.IsEmpty ? null : tape.Indices(BatchRows.Ranges(batch.Documents, length)),
        };
        ReadOnlySpan<int> positions = rows.Positions(batch, length);
        ReadOnlySpan<int> places = Description.Embedding.Positions?.PaddingToken is { } padding ? BatchRows.AfterPadding(batch.Tokens, length, padding) : positions;
        return stack.Finish(tape, Read(context, batch.Tokens, positions, places, rows.Segments(batch)));
    }

    /// <summary>Reads new tokens of sequences whose earlier ones are in a cache.</summary>
    /// <param name="tape">A tape that does not record.</param>
    /// <param name="window">Which rows of the cache they are.</param>
    /// <param name="tokens">Token ids, all of one sequence or one of each.</param>
    /// <param name="positions">Their positions.</param>
    /// <param name="keyBias">As in <see cref="ForwardContext.KeyBias"/>.</param>
    /// <returns>tokens × hidden size, before the final norm.</returns>
    internal Tensor Decode(Tape tape, CacheWindow window, ReadOnlySpan<int> tokens, ReadOnlySpan<int> positions, Block? keyBias)
    {
        int sequences = window.Sequences;
        var context = new ForwardContext(tape, sequences, tokens.Length / sequences, rotations.Count) { Cache = window, KeyBias = keyBias };
        return Read(context, tokens, positions, positions, []);
    }

    /// <summary>Embeds tokens and takes them through all blocks: the one forward pass.</summary>
    /// <param name="context">The pass.</param>
    /// <param name="tokens">sequences · length ids.</param>
    /// <param name="positions">As many positions, for rotations.</param>
    /// <param name="places">As many rows of the position table.</param>
    /// <param name="segments">As many segments; empty where the model has none.</param>
    /// <returns>(sequences · length) × hidden size, before the final norm.</returns>
    private Tensor Read(ForwardContext context, ReadOnlySpan<int> tokens, ReadOnlySpan<int> positions, ReadOnlySpan<int> places, ReadOnlySpan<int> segments)
    {
        rotations.Upload(context, positions);
        return stack.Forward(context, embedding.Forward(context.Tape, tokens, places, segments));
    }

    /// <summary>Logits of states that <see cref="Read"/> gave.</summary>
    internal Tensor LogitsOfStates(Tape tape, Tensor x) => head.Logits(tape, stack.Finish(tape, x));
}
