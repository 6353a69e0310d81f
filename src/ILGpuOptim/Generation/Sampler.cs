using System.Buffers;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Generation;

/// <summary>
/// Draws tokens as <see cref="SamplingOptions"/> say. Each draw depends on the seed, the sample's number and the token's place
/// alone: the same text comes out whatever else is generated beside it, with any number of threads.
/// </summary>
public sealed class Sampler
{
    private readonly SamplingOptions options;

    /// <summary>Takes over valid options.</summary>
    /// <exception cref="UserException">A number lies outside its range.</exception>
    public Sampler(SamplingOptions options)
    {
        options.Check();
        this.options = options;
    }

    /// <summary>True if <see cref="Next"/> reads the earlier ids.</summary>
    public bool ReadsSeen => options.RepetitionPenalty != 1;

    /// <summary>Draws a token.</summary>
    /// <param name="logits">One for each token; overwritten.</param>
    /// <param name="seen">The different ids of the text so far; read when <see cref="ReadsSeen"/>.</param>
    /// <param name="sample">The number of the sample.</param>
    /// <param name="place">How many tokens were drawn for it before.</param>
    /// <returns>The token, and the logarithm of its probability before anything was excluded (NaN unless it is wanted).</returns>
    /// <exception cref="UserException">The logits contain NaN.</exception>
    public (int Id, double LogProbability) Next(Span<float> logits, ReadOnlySpan<int> seen, int sample, int place)
    {
        if (Samplers.HasNaN(logits))
            throw new UserException("the model's logits contain NaN; its weights are damaged, or its training diverged");
        if (!options.LogProbabilities)
            return (Choose(logits, seen, sample, place), double.NaN);
        float[] before = ArrayPool<float>.Shared.Rent(logits.Length);
        logits.CopyTo(before);
        int id = Choose(logits, seen, sample, place);
        double logProbability = Samplers.LogProbability(before.AsSpan(0, logits.Length), id);
        ArrayPool<float>.Shared.Return(before);
        return (id, logProbability);
    }

    private int Choose(Span<float> logits, ReadOnlySpan<int> seen, int sample, int place)
    {
        Samplers.PenalizeRepetition(logits, seen, options.RepetitionPenalty);
        if (options.Temperature == 0)
            return Samplers.ArgMax(logits);
        Samplers.ApplyTemperature(logits, options.Temperature);
        Samplers.KeepTopK(logits, options.TopK);
        Samplers.KeepTopP(logits, options.TopP);
        Samplers.KeepMinP(logits, options.MinP);
        (uint high, uint low, _, _) = Philox.Generate(options.Seed, (ulong)sample, (ulong)place);
        return Samplers.Draw(logits, (((ulong)high << 32 | low) >> 11) * (1.0 / (1UL << 53)));
    }
}
