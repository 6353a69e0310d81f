namespace PeerBenchmarks.Workloads;

/// <summary>Random sequences: the time of a step does not depend on what the tokens say.</summary>
internal sealed class TokenSource(Recipe recipe)
{
    private readonly Random random = new(1);

    /// <summary>Batch × length tokens.</summary>
    public long[] Input { get; } = new long[recipe.Batch * recipe.Length];

    /// <summary>The token that follows each of <see cref="Input"/>.</summary>
    public long[] Target { get; } = new long[recipe.Batch * recipe.Length];

    /// <summary>Draws the next batch.</summary>
    public void Next()
    {
        for (int sequence = 0; sequence < recipe.Batch; sequence++)
        {
            long token = random.Next(recipe.VocabularySize);
            for (int i = sequence * recipe.Length; i < (sequence + 1) * recipe.Length; i++)
            {
                Input[i] = token;
                Target[i] = token = random.Next(recipe.VocabularySize);
            }
        }
    }
}
