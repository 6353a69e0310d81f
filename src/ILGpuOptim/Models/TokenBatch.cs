namespace ILGpuOptim.Models;

/// <summary>Sequences of one length, row by row, with what a model may need beside the token ids. Optional parts are empty when they are not given.</summary>
public readonly ref struct TokenBatch
{
    /// <summary>A batch of plain sequences.</summary>
    /// <param name="tokens">sequences · length token ids.</param>
    /// <param name="sequences">How many sequences.</param>
    public TokenBatch(ReadOnlySpan<int> tokens, int sequences)
    {
        Tokens = tokens;
        Sequences = sequences;
    }

    /// <summary>Token ids, sequences · length.</summary>
    public ReadOnlySpan<int> Tokens { get; }

    /// <summary>How many sequences.</summary>
    public int Sequences { get; }

    /// <summary>The segment of each token; empty: the first everywhere.</summary>
    public ReadOnlySpan<int> Segments { get; init; }

    /// <summary>1 for tokens, 0 for padding, which no query sees as a key; empty: no padding.</summary>
    public ReadOnlySpan<int> Mask { get; init; }

    /// <summary>The position of each token; empty: 0, 1, … of each sequence, or of each document.</summary>
    public ReadOnlySpan<int> Positions { get; init; }

    /// <summary>
    /// The number of the document of each token, equal for neighbours of one document; attention stays within a document. Empty: each sequence is one.
    /// </summary>
    public ReadOnlySpan<int> Documents { get; init; }

    /// <summary>For models of an encoder and a decoder: the decoder's input, sequences · length of its own. <see cref="Tokens"/> are the encoder's.</summary>
    public ReadOnlySpan<int> DecoderTokens { get; init; }
}
