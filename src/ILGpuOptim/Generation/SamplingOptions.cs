using ILGpuOptim.Validation;

namespace ILGpuOptim.Generation;

/// <summary>
/// How the next token is drawn. The steps are taken in this order, which is that of Hugging Face's library: repetition
/// penalty, temperature, top-k, top-p, min-p.
/// </summary>
public sealed record SamplingOptions
{
    /// <summary>Divides the logits; 0 always takes the likeliest token.</summary>
    [Range(0)]
    public double Temperature { get; init; } = 0.8;

    /// <summary>Draws among this many likeliest tokens; 0 among all.</summary>
    [Range(0)]
    public int TopK { get; init; }

    /// <summary>Nucleus (top-p) sampling threshold; 1 turns it off.</summary>
    [Range(0, 1)]
    public double TopP { get; init; } = 1;

    /// <summary>Draws among tokens at least this share as likely as the likeliest; 0 among all.</summary>
    [Range(0, 1)]
    public double MinP { get; init; }

    /// <summary>Makes tokens that were seen before less likely when above 1.</summary>
    [Range(0, Above = true)]
    public double RepetitionPenalty { get; init; } = 1;

    /// <summary>Repeats the same text.</summary>
    [Range(0)]
    public ulong Seed { get; init; } = 1;

    /// <summary>Whether the log-probability of every token is computed: one pass over the vocabulary each.</summary>
    public bool LogProbabilities { get; init; }

    /// <summary>Throws when a number means nothing.</summary>
    /// <exception cref="SettingException">A number lies outside its range.</exception>
    public void Check() => Ranges.Check(this);
}
