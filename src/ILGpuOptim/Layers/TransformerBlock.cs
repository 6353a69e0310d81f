using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>A layer of a transformer: attention, optional cross-attention and a feed-forward layer, each added to the residual stream. A <see cref="TransformerStack"/> makes its blocks.</summary>
public sealed class TransformerBlock : Layer
{
    private readonly ResidualKind residual;
    private readonly Norm? attentionNorm, attentionOutputNorm, crossNorm, feedForwardNorm, feedForwardOutputNorm;
    private readonly AttentionLayer attention;
    private readonly AttentionLayer? cross;
    private readonly FeedForwardLayer feedForward;
    private readonly float attentionDropout, feedForwardDropout;
    private readonly Branch attend, feed;
    private readonly Branch? attendAcross;

    /// <summary>Makes the layers in the order in which the block applies them.</summary>
    /// <param name="initializer">Allocates and fills the parameters.</param>
    /// <param name="description">The layers of the block.</param>
    /// <param name="hiddenSize">The size of a token's residual stream.</param>
    /// <param name="index">The block's index within its stack, also in a cache.</param>
    /// <param name="isCausal">Makes self-attention causal.</param>
    /// <param name="tables">Tables that the layers of a stack share.</param>
    /// <exception cref="ArgumentException">The description contradicts itself.</exception>
    internal TransformerBlock(Initializer initializer, BlockDescription description, int hiddenSize, int index, bool isCausal, SharedTables tables)
    {
        (residual, attentionDropout, feedForwardDropout) = (description.Residual, description.AttentionOutputDropout, description.FeedForwardOutputDropout);
        attentionNorm = AddNorm(description.AttentionNorm);
        attention = Add(new AttentionLayer(initializer, description.Attention, hiddenSize, index, isCausal, tables));
        attentionOutputNorm = AddNorm(description.AttentionOutputNorm);
        if (description.CrossAttention is { } across && (across.Inputs.Count != 3 || across.Rotary is not null || across.RelativeBias is not null || across.KeysBefore is not null || across.KeysAfter is not null))
            throw new ArgumentException($"cross-attention with {across.Output.Name} has three projections, and no rotary positions, relative biases or windows: its keys are of another sequence", nameof(description));
        crossNorm = AddNorm(description.CrossAttentionNorm);
        cross = description.CrossAttention is { } other ? Add(new AttentionLayer(initializer, other, hiddenSize, index, isCausal: false, tables)) : null;
        feedForwardNorm = AddNorm(description.FeedForwardNorm);
        feedForward = Add(new FeedForwardLayer(initializer, description.FeedForward, hiddenSize));
        feedForwardOutputNorm = AddNorm(description.FeedForwardOutputNorm);
        (attend, feed) = (attention.Forward, feedForward.Forward);
        attendAcross = cross is null ? null : cross.ForwardAcross;

        Norm? AddNorm(NormDescription? norm) => norm is null ? null : Add(new Norm(initializer, norm, hiddenSize));
    }

    /// <summary>Self-attention.</summary>
    internal AttentionLayer Attention => attention;

    /// <summary>Attention to an encoder's states; null: none.</summary>
    internal AttentionLayer? CrossAttention => cross;

    /// <summary>Applies the block to the residual stream.</summary>
    /// <param name="context">The pass.</param>
    /// <param name="x">(sequences · length) × hidden size.</param>
    /// <returns>As x.</returns>
    public Tensor Forward(ForwardContext context, Tensor x)
    {
        Tape tape = context.Tape;
        Tensor y = Add(context, attend, Norm.Normalized(tape, attentionNorm, x), x, attentionOutputNorm, attentionDropout);
        if (attendAcross is not null)
            y = Add(context, attendAcross, Norm.Normalized(tape, crossNorm, y), y, null, attentionDropout);
        Tensor read = residual == ResidualKind.Parallel ? x : y;
        return Add(context, feed, Norm.Normalized(tape, feedForwardNorm, read), y, feedForwardOutputNorm, feedForwardDropout);
    }

    /// <summary>Adds a branch of <paramref name="x"/> to the stream, with the norm of the branch or of the sum.</summary>
    private Tensor Add(ForwardContext context, Branch branch, Tensor x, Tensor stream, Norm? norm, float dropout)
    {
        Tape tape = context.Tape;
        if (norm is null)
            return branch(context, x, stream, dropout);
        return residual == ResidualKind.NormAfterSum
            ? norm.Forward(tape, branch(context, x, stream, dropout))
            : tape.Add(stream, tape.Dropout(norm.Forward(tape, branch(context, x)), dropout));
    }

    private delegate Tensor Branch(ForwardContext context, Tensor x, Tensor? residual = null, float dropout = 0);
}
