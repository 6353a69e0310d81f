namespace ILGpuOptim.Generation;

/// <summary>
/// How the next token is drawn. The steps are taken in this order, which is that of Hugging Face's library: repetition
/// penalty, temperature, top-k, top-p, min-p.
/// </summary>
public sealed record SamplingOptions
{
    /// <summary>Divides the logits; 0 always takes the likeliest token.</summary>
    public double Temperature { get; init; } = 0.8;

    /// <summary>Draws among this many likeliest tokens; 0 among all.</summary>
    public int TopK { get; init; }

    /// <summary>Draws among the fewest likeliest tokens that together have this probability; 1 among all.</summary>
    public double TopP { get; init; } = 1;

    /// <summary>Draws among tokens at least this share as likely as the likeliest; 0 among all.</summary>
    public double MinP { get; init; }

    /// <summary>Makes tokens that were seen before less likely when above 1.</summary>
    public double RepetitionPenalty { get; init; } = 1;

    /// <summary>Repeats the same text.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>Whether the log-probability of every token is computed: one pass over the vocabulary each.</summary>
    public bool LogProbabilities { get; init; }

    /// <summary>Throws when a number means nothing.</summary>
    /// <exception cref="UserException">A number lies outside its range.</exception>
    public void Check()
    {
        Require(Temperature >= 0 && double.IsFinite(Temperature), "temperature", Temperature, "it must be at least 0");
        Require(TopK >= 0, "top-k", TopK, "it must be at least 0, and 0 means all");
        Require(TopP is >= 0 and <= 1, "top-p", TopP, "a probability lies in [0, 1]");
        Require(MinP is >= 0 and <= 1, "min-p", MinP, "a share lies in [0, 1]");
        Require(RepetitionPenalty > 0 && double.IsFinite(RepetitionPenalty), "repetition penalty", RepetitionPenalty, "it must be above 0, and 1 means none");
    }

    private static void Require(bool holds, string name, double value, string rule)
    {
        if (!holds)
            throw new UserException($"{name} {value}: {rule}");
    }
}
