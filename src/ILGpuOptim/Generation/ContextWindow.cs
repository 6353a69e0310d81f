namespace ILGpuOptim.Generation;

/// <summary>
/// What a model sees of a text that is longer than its positions. When they are full, the older half is forgotten and the
/// rest is read again from position 0, so that only one token in half a context pays for it. The window depends on the length of
/// the text alone: a text continued later, or without a cache, sees the same.
/// </summary>
public static class ContextWindow
{
    /// <summary>The first token that is seen.</summary>
    /// <param name="length">Tokens so far.</param>
    /// <param name="positions">The most that the model can see.</param>
    public static int Start(int length, int positions)
    {
        if (length <= positions)
            return 0;
        int half = Math.Max(1, positions / 2);
        return (length - positions + half - 1) / half * half;
    }
}
