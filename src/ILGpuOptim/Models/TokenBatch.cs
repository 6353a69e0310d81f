namespace ILGpuOptim.Models;

/// <summary>Sequences of one length, row by row, with optional segments, masks, positions and documents. Optional spans are empty if they are not given.</summary>
public readonly ref struct TokenBatch
{
    /// <summary>A batch of plain sequences.</summary>
    /// <param name="tokens">sequences · length token ids.</param>
    /// <param name="sequences">The number of sequences.</param>
    public TokenBatch(ReadOnlySpan<int> tokens, int sequences)
    {
        Tokens = tokens;
        Sequences = sequences;
    }

    /// <summary>Token ids, sequences · length.</summary>
    public ReadOnlySpan<int> Tokens { get; }

    /// <summary>The number of sequences.</summary>
    public int Sequences { get; }

    /// <summary>The segment of each token; empty: the first everywhere.</summary>
    public ReadOnlySpan<int> Segments { get; init; }

    /// <summary>1 for tokens, 0 for padding, which no query attends to; empty: no padding.</summary>
    public ReadOnlySpan<int> Mask { get; init; }

    /// <summary>The position of each token; empty: 0, 1, … of each sequence, or of each document.</summary>
    public ReadOnlySpan<int> Positions { get; init; }

    /// <summary>
    /// The number of the document of each token, equal for neighbours of one document; attention stays within a document. Empty: each sequence is one.
    /// </summary>
    public ReadOnlySpan<int> Documents { get; init; }

    /// <summary>The decoder's input of an encoder-decoder, sequences · (a length of its own). <see cref="Tokens"/> are the encoder's.</summary>
    public ReadOnlySpan<int> DecoderTokens { get; init; }
}
