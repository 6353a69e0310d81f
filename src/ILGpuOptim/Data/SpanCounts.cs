namespace ILGpuOptim.Data;

/// <summary>The numbers of hidden tokens and spans of a sequence in span corruption.</summary>
/// <param name="Length">The number of tokens of the sequence.</param>
/// <param name="Hidden">The number of hidden tokens.</param>
/// <param name="Spans">The number of hidden spans.</param>
internal readonly record struct SpanCounts(int Length, int Hidden, int Spans)
{
    /// <summary>Tokens of the encoder's input: the visible ones, a sentinel for each span, and the end.</summary>
    public int InputLength => Length - Hidden + Spans + 1;

    /// <summary>Tokens of the target: the hidden ones, a sentinel before each span, and the end.</summary>
    public int TargetLength => Hidden + Spans + 1;

    /// <summary>
    /// The counts of a sequence. At least one token is hidden; of two or more tokens, at least one is visible, and each span is preceded by a visible token.
    /// No count decreases with the length.
    /// </summary>
    /// <param name="length">The number of tokens of the sequence.</param>
    /// <param name="fraction">The fraction of hidden tokens, in (0, 1).</param>
    /// <param name="meanSpan">The mean number of tokens of a span, at least 1.</param>
    public static SpanCounts Of(int length, double fraction, double meanSpan)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        if (length < 2)
            return new SpanCounts(length, length, length);
        int hidden = Math.Clamp((int)Math.Round(length * fraction), 1, length - 1);
        return new SpanCounts(length, hidden, Math.Clamp((int)Math.Round(hidden / meanSpan), 1, Math.Min(hidden, length - hidden)));
    }
}
