using ILGpuOptim.Validation;

namespace ILGpuOptim.Generation;

/// <summary>
/// How the next token is sampled. The steps are applied in this order, which is that of Hugging Face's library: repetition
/// penalty, temperature, top-k, top-p, min-p.
/// </summary>
public sealed record SamplingOptions
{
    /// <summary>Divides the logits; 0 always takes the most probable token.</summary>
    [Range(0)]
    public double Temperature { get; init; } = 0.8;

    /// <summary>Top-k sampling: the number of most probable tokens to sample from; 0 means all.</summary>
    [Range(0)]
    public int TopK { get; init; }

    /// <summary>Nucleus (top-p) sampling threshold; 1 turns it off.</summary>
    [Range(0, 1)]
    public double TopP { get; init; } = 1;

    /// <summary>Min-p sampling: the least probability of a token, as a fraction of the largest one; 0 turns it off.</summary>
    [Range(0, 1)]
    public double MinP { get; init; }

    /// <summary>Makes tokens of the text so far less probable when above 1.</summary>
    [Range(0, MinimumIsExclusive = true)]
    public double RepetitionPenalty { get; init; } = 1;

    /// <summary>The seed; the same seed gives the same text.</summary>
    [Range(0)]
    public ulong Seed { get; init; } = 1;

    /// <summary>Enables log-probabilities of sampled tokens; each takes one pass over the vocabulary.</summary>
    public bool LogProbabilities { get; init; }

    /// <summary>Checks the ranges of all options.</summary>
    /// <exception cref="SettingException">A number lies outside its range.</exception>
    public void Check() => Ranges.Check(this);
}
