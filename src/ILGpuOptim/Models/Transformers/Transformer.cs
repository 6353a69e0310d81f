using ILGpuOptim.Compute;
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
    private readonly TransformerStack? encoder;
    private readonly LanguageModelHead head;
    private readonly BatchRows rows = new();

    /// <summary>Makes a model with initial parameters.</summary>
    /// <param name="config">The configuration, whose <see cref="ModelConfig.Describe"/> gives the architecture.</param>
    /// <param name="initializer">Creates the parameters on a device, from a seed.</param>
    /// <exception cref="ArgumentException">The configuration has no description.</exception>
    /// <exception cref="UserException">The configuration contradicts itself.</exception>
    public Transformer(ModelConfig config, Initializer initializer)
    {
        config.Check(config.Family);
        Config = config;
        initializer.Quantization = config.Quantization;
        Description = config.Describe() ?? throw new ArgumentException($"{config.GetType().Name} describes no transformer; override {nameof(ModelConfig.Describe)}, or {nameof(ModelConfig.Create)} to make a model of your own class", nameof(config));
        embedding = Add(new TransformerEmbedding(initializer, Description.Embedding, Description.VocabularySize, Description.HiddenSize));
        encoder = Description.Encoder is { } first ? Add(new TransformerStack(initializer, first)) : null;
        stack = Add(new TransformerStack(initializer, Description));
        head = Add(new LanguageModelHead(initializer, Description.Head, Description.HiddenSize, embedding.Tokens));
    }

    /// <inheritdoc/>
    public override ModelConfig Config { get; }

    /// <summary>The architecture, from <see cref="ModelConfig.Describe"/>.</summary>
    public TransformerDescription Description { get; }

    /// <inheritdoc/>
    public override bool IsCausal => Description.IsCausal;

    /// <inheritdoc/>
    public override bool HasEncoder => encoder is not null;

    /// <inheritdoc/>
    public override bool WritesText => IsCausal;

    internal override int StartToken => Description.DecoderStartToken ?? 0;

    /// <inheritdoc/>
    public override Parameter Head => head.Weight;

    /// <inheritdoc/>
    public override bool SupportsRecomputation => true;

    /// <inheritdoc/>
    public override bool SupportsDocuments => true;

    /// <summary>The bias of the logits; null for a head without one.</summary>
    public Parameter? HeadBias => head.Bias;

    /// <summary>The decoder's stack, or the only one.</summary>
    internal TransformerStack Stack => stack;

    /// <summary>The hidden states that <see cref="Head"/> multiplies, (sequences · length) × hidden size: those of the last layer, after the head's transform if it has one.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="batch">The tokens with their optional masks and positions.</param>
    /// <exception cref="ArgumentException">As for <see cref="Logits"/>.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An id lies outside its table.</exception>
    public Tensor Hidden(Tape tape, in TokenBatch batch) => head.Transform(tape, States(tape, batch, null));

    /// <inheritdoc/>
    public override Tensor Logits(Tape tape, in TokenBatch batch) => head.Logits(tape, States(tape, batch, null));

    /// <inheritdoc/>
    public override Tensor LogitsOf(Tape tape, in TokenBatch batch, ReadOnlySpan<int> rows) =>
        head.Logits(tape, tape.Embedding(States(tape, batch, null), tape.Indices(rows)));

    /// <inheritdoc/>
    public override LossParts Losses(Tape tape, in TokenBatch batch, ReadOnlySpan<int> targets, float scale = 1)
    {
        TokenBatch read = HasEncoder && batch.DecoderTokens.IsEmpty ? batch.WithDecoderTokens(DecoderTokensFor(targets, batch.Sequences)) : batch;
        int count = HasEncoder ? read.DecoderTokens.Length : read.Tokens.Length;
        if (targets.Length != count)
            throw new ArgumentException($"{targets.Length} targets for {count} tokens", nameof(targets));
        RouterLoss? router = RouterLossFor(tape, read);
        Tensor crossEntropy = head.Loss(tape, States(tape, read, router), targets, scale);
        if (router is null)
            return new LossParts(crossEntropy, crossEntropy, null);
        Tensor balance = router.Total();
        Tensor total = tape.Add(crossEntropy, tape.Affine(balance, scale * Description.RouterLossCoefficient));
        total.IsKept = true;
        return new LossParts(total, crossEntropy, balance);
    }

    internal override Tensor TokenLosses(Tape tape, in TokenBatch batch, ReadOnlySpan<int> targets, out Tensor? router)
    {
        RouterLoss? loss = RouterLossFor(tape, batch);
        Tensor losses = head.TokenLosses(tape, States(tape, batch, loss), targets);
        router = loss is null ? null : tape.Affine(loss.Total(), Description.RouterLossCoefficient);
        return losses;
    }

    /// <inheritdoc/>
    public override int[] TargetsOf(ReadOnlySpan<int> labels, int batch) => IsCausal && !HasEncoder ? base.TargetsOf(labels, batch) : labels.ToArray();

    /// <summary>Reads new tokens of sequences whose earlier ones are in a cache.</summary>
    /// <param name="context">A pass with a cache, on a tape that does not record.</param>
    /// <param name="tokens">Token ids, all of one sequence or one of each.</param>
    /// <param name="positions">Their positions.</param>
    /// <returns>tokens × hidden size, before the final norm.</returns>
    internal Tensor Decode(ForwardContext context, ReadOnlySpan<int> tokens, ReadOnlySpan<int> positions) =>
        stack.Forward(context, embedding.Forward(context.Tape, tokens, positions, rows.Zeros(tokens.Length)));

    /// <summary>Logits of states that <see cref="Decode"/> gave.</summary>
    internal Tensor LogitsOfStates(Tape tape, Tensor x) => head.Logits(tape, stack.Finish(tape, x));

    /// <summary>The encoder's states of a batch.</summary>
    /// <exception cref="InvalidOperationException">The model has no encoder.</exception>
    internal EncodedStates Encode(Tape tape, in TokenBatch batch)
    {
        if (encoder is null)
            throw new InvalidOperationException($"{Config.Family} has no encoder");
        int length = batch.Sequences == 0 ? 0 : batch.Tokens.Length / batch.Sequences;
        Block? keyBias = batch.Mask.IsEmpty ? null : tape.Values(rows.KeyBias(batch.Mask));
        var context = new ForwardContext(tape, batch.Sequences, length, encoder.Tables) { KeyBias = keyBias, Recomputes = Recomputes && tape.IsRecording };
        ReadOnlySpan<int> positions = rows.Positions(batch.Tokens.Length, length);
        encoder.Rotate(context, positions);
        Tensor x = embedding.Forward(tape, batch.Tokens, positions, rows.Zeros(batch.Tokens.Length));
        return new EncodedStates(length, keyBias) { States = encoder.Finish(tape, encoder.Forward(context, x)) };
    }

    /// <summary>The states after the last block and the final norm, (sequences · length) × hidden size: the one forward pass.</summary>
    private Tensor States(Tape tape, in TokenBatch batch, RouterLoss? router)
    {
        int length = batch.LengthFor(this);
        ReadOnlySpan<int> tokens = HasEncoder ? batch.DecoderTokens : batch.Tokens;
        var context = new ForwardContext(tape, batch.Sequences, length, stack.Tables)
        {
            KeyBias = HasEncoder || batch.Mask.IsEmpty ? null : tape.Values(rows.KeyBias(batch.Mask)),
            Ranges = batch.Documents.IsEmpty ? null : tape.Indices(rows.Ranges(batch.Documents, length)),
            Encoded = HasEncoder ? Encode(tape, batch) : null,
            RouterLoss = router,
            Recomputes = Recomputes && tape.IsRecording,
        };
        ReadOnlySpan<int> positions =
            !batch.Positions.IsEmpty ? batch.Positions :
            !batch.Documents.IsEmpty ? rows.Restarting(batch.Documents, length) :
            rows.Positions(tokens.Length, length);
        ReadOnlySpan<int> places = Description.Embedding.Positions?.PaddingToken is { } padding ? rows.AfterPadding(tokens, batch.Documents, length, padding) : positions;
        stack.Rotate(context, positions);
        Tensor x = embedding.Forward(tape, tokens, places, batch.Segments.IsEmpty ? rows.Zeros(tokens.Length) : batch.Segments);
        return stack.Finish(tape, stack.Forward(context, x));
    }

    private RouterLoss? RouterLossFor(Tape tape, in TokenBatch batch)
    {
        ExpertsDescription[] routers = [.. Description.Blocks.Select(block => block.FeedForward.Experts).OfType<ExpertsDescription>()];
        return Description.RouterLossCoefficient == 0 || routers.Length == 0 ? null
            : new RouterLoss(tape, routers.Length, routers[0].Count, batch.Tokens.Length, batch.Mask);
    }

    /// <summary>The decoder's input that predicts targets: they come one later, behind the start token; ignored ones become padding.</summary>
    internal override int[] DecoderTokensFor(ReadOnlySpan<int> targets, int sequences)
    {
        if (!HasEncoder)
            return [];
        if (sequences < 1 ? targets.Length > 0 : targets.Length % sequences != 0)
            throw new ArgumentException($"{targets.Length} targets are not {sequences} sequences of one length", nameof(targets));
        int length = sequences < 1 ? 0 : targets.Length / sequences, start = StartToken, padding = Config.PadToken ?? start;
        var tokens = new int[targets.Length];
        for (int i = 0; i < tokens.Length; i++)
            tokens[i] = i % length == 0 ? start : targets[i - 1] >= 0 ? targets[i - 1] : padding;
        return tokens;
    }
}
