namespace ILGpuOptim.Generation;

/// <summary>
/// The context window of a text that is longer than the model's positions. When they are full, the older half is dropped and the
/// rest is computed again from position 0, once in half a context. The window depends on the length of
/// the text alone: it is the same for a text that is continued later, or without a cache.
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
