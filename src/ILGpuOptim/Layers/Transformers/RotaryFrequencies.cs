namespace ILGpuOptim.Layers;

/// <summary>
/// The frequencies of rotary position embedding (Su et al., "RoFormer", 2021): pair k is rotated by f_k = θ^(-2k/n) radians a token, scaled as the
/// description says: linear (Chen et al., 2023), dynamic NTK, llama3 (Llama 3.1), yarn (Peng et al., 2023), longrope (Ding et al., 2024).
/// </summary>
internal sealed class RotaryFrequencies
{
    private readonly RotaryScaling scaling;
    private readonly string kind;
    private readonly double theta;
    private readonly int size, positions, original;
    private readonly double[] common = [];

    public RotaryFrequencies(RotaryDescription description)
    {
        (theta, size, positions) = (description.Theta, description.Size, description.MaxPositions);
        scaling = description.Scaling ?? new RotaryScaling();
        kind = scaling.Name;
        original = scaling.OriginalPositions ?? positions;
        AttentionFactor = kind switch
        {
            "yarn" => scaling.AttentionFactor ?? YarnAttentionFactor(),
            "longrope" => scaling.AttentionFactor ?? LongAttentionFactor(),
            _ => 1,
        };
        if (!DependsOnLength)
            common = Compute(0);
    }

    /// <summary>The factor of cosines and sines.</summary>
    public double AttentionFactor { get; }

    /// <summary>True if the frequencies depend on the longest sequence.</summary>
    public bool DependsOnLength => kind is "dynamic" or "longrope";

    /// <summary>Lengths of one variant have the same frequencies. 0: those of sequences within the model's first context.</summary>
    public int VariantOf(int length) => kind switch
    {
        "dynamic" => length > positions ? length : 0,
        "longrope" => length > original ? 1 : 0,
        _ => 0,
    };

    /// <summary>Radians a token of each pair, in sequences of a variant.</summary>
    public double[] Of(int variant) => DependsOnLength ? Compute(variant) : common;

    private double[] Compute(int variant)
    {
        double stretchedTheta = kind == "dynamic" && variant > 0 ? DynamicTheta(variant) : theta;
        var result = new double[size / 2];
        for (int k = 0; k < result.Length; k++)
        {
            double frequency = Math.Pow(stretchedTheta, -2.0 * k / size);
            result[k] = kind switch
            {
                "linear" => frequency / scaling.Factor!.Value,
                "llama3" => ByWavelength(frequency),
                "yarn" => ByTurns(k, frequency),
                "longrope" => frequency / (variant == 0 ? scaling.ShortFactors! : scaling.LongFactors!)[k],
                _ => frequency,
            };
        }

        return result;
    }

    private double DynamicTheta(int length)
    {
        double factor = scaling.Factor!.Value;
        return theta * Math.Pow(factor * length / positions - (factor - 1), size / (size - 2.0));
    }

    private double ByWavelength(double frequency)
    {
        double waves = original * frequency / (2 * Math.PI), low = scaling.LowFactor!.Value, high = scaling.HighFactor!.Value;
        double kept = Math.Clamp((waves - low) / (high - low), 0, 1);
        return (1 - kept) * frequency / scaling.Factor!.Value + kept * frequency;
    }

    private double ByTurns(int pair, double frequency)
    {
        double low = PairOf(scaling.FastTurns ?? 32), high = PairOf(scaling.SlowTurns ?? 1);
        if (scaling.Truncates ?? true)
            (low, high) = (Math.Floor(low), Math.Ceiling(high));
        (low, high) = (Math.Max(low, 0), Math.Min(high, size - 1));
        if (low == high)
            high += 0.001;
        double stretched = Math.Clamp((pair - low) / (high - low), 0, 1);
        return frequency * (1 - stretched) + frequency / scaling.Factor!.Value * stretched;

        // The pair, not a whole number, that turns so many times in the original context.
        double PairOf(double turns) => size * Math.Log(original / (2 * Math.PI * turns)) / (2 * Math.Log(theta));
    }

    private double YarnAttentionFactor()
    {
        double growth = Math.Log(Math.Max(scaling.Factor!.Value, 1));
        return scaling is { Scale: { } scale and not 0, AllDimensionsScale: { } all and not 0 }
            ? (0.1 * scale * growth + 1) / (0.1 * all * growth + 1)
            : 0.1 * growth + 1;
    }

    private double LongAttentionFactor()
    {
        double growth = scaling.Factor ?? (double)positions / original;
        return growth <= 1 ? 1 : Math.Sqrt(1 + Math.Log(growth) / Math.Log(original));
    }
}
