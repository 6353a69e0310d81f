using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>From token ids to the residual stream: norm(scale · token + position + segment), then dropout.</summary>
public sealed class TransformerEmbedding : Layer
{
    private readonly EmbeddingDescription description;
    private readonly Embedding tokens;
    private readonly Embedding? positions, segments;
    private readonly Norm? norm;

    /// <summary>Makes the tables.</summary>
    /// <param name="initializer">Allocates and fills the parameters.</param>
    /// <param name="description">Which tables there are.</param>
    /// <param name="vocabulary">Rows of the token table.</param>
    /// <param name="hiddenSize">Columns of all tables.</param>
    public TransformerEmbedding(Initializer initializer, EmbeddingDescription description, int vocabulary, int hiddenSize)
    {
        this.description = description;
        tokens = Table(description.Tokens, vocabulary, description.PaddingToken);
        positions = description.Positions is { } table ? Table(table.Name, table.Rows, table.PaddingToken) : null;
        segments = description.Segments is { } name ? Table(name, description.SegmentCount) : null;
        norm = description.Norm is { } after ? Add(new Norm(initializer, after, hiddenSize)) : null;

        Embedding Table(string name, int rows, int? padding = null) =>
            Add(new Embedding(initializer, name, rows, hiddenSize, description.StandardDeviation, description.Truncation, padding));
    }

    /// <summary>The token table, vocabulary × hidden size.</summary>
    public Parameter Tokens => tokens.Weight;

    /// <summary>The residual stream of tokens.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="ids">Token ids, each within the table.</param>
    /// <param name="positionIds">As many rows of the position table.</param>
    /// <param name="segmentIds">As many rows of the segment table.</param>
    /// <returns>ids × hidden size.</returns>
    public Tensor Forward(Tape tape, ReadOnlySpan<int> ids, ReadOnlySpan<int> positionIds, ReadOnlySpan<int> segmentIds)
    {
        Tensor? sum = positions?.Forward(tape, tape.Indices(positionIds));
        if (segments is not null)
            sum = segments.Forward(tape, tape.Indices(segmentIds), sum);
        Tensor x = description.Scale == 1
            ? tokens.Forward(tape, tape.Indices(ids), sum)
            : Add(tape, tape.Affine(tokens.Forward(tape, tape.Indices(ids)), description.Scale), sum);
        return tape.Dropout(norm is null ? x : norm.Forward(tape, x), description.Dropout);
    }

    private static Tensor Add(Tape tape, Tensor x, Tensor? other) => other is null ? x : tape.Add(x, other);
}
