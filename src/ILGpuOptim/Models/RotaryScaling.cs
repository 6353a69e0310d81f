using System.Text.Json.Serialization;

namespace ILGpuOptim.Models;

/// <summary>How rotary frequencies are stretched for contexts longer than a model was first trained on: <c>rope_scaling</c>.</summary>
public sealed record RotaryScaling
{
    /// <summary>default, linear (Chen et al., 2023) or llama3 (Llama 3.1).</summary>
    [JsonPropertyName("rope_type")]
    public string? Kind { get; init; }

    /// <summary>The older name of <see cref="Kind"/>.</summary>
    [JsonPropertyName("type")]
    public string? OldKind { get; init; }

    /// <summary>Where newer files keep the base of the frequencies.</summary>
    [JsonPropertyName("rope_theta")]
    public double? Theta { get; init; }

    /// <summary>What slow frequencies are divided by.</summary>
    [JsonPropertyName("factor")]
    public double? Factor { get; init; }

    /// <summary>Waves longer than the original context divided by this are stretched in full.</summary>
    [JsonPropertyName("low_freq_factor")]
    public double? LowFactor { get; init; }

    /// <summary>Waves shorter than the original context divided by this stay.</summary>
    [JsonPropertyName("high_freq_factor")]
    public double? HighFactor { get; init; }

    /// <summary>The context of the first training.</summary>
    [JsonPropertyName("original_max_position_embeddings")]
    public int? OriginalPositions { get; init; }

    private string Name => Kind ?? OldKind ?? "default";

    /// <summary>The stretched frequency, in radians a token.</summary>
    public double Apply(double frequency)
    {
        if (Name == "linear")
            return frequency / Factor!.Value;
        if (Name != "llama3")
            return frequency;
        double waves = OriginalPositions!.Value * frequency / (2 * Math.PI), low = LowFactor!.Value, high = HighFactor!.Value;
        double kept = Math.Clamp((waves - low) / (high - low), 0, 1);
        return (1 - kept) * frequency / Factor!.Value + kept * frequency;
    }

    /// <summary>Fails on kinds that are not known and on missing numbers.</summary>
    /// <exception cref="UserException">With the field and what to do.</exception>
    internal void Check(string source)
    {
        (string Field, double? Value)[] needed = Name switch
        {
            "default" => [],
            "linear" => [("factor", Factor)],
            "llama3" => [("factor", Factor), ("low_freq_factor", LowFactor), ("high_freq_factor", HighFactor), ("original_max_position_embeddings", OriginalPositions)],
            _ => throw new UserException($"{source}: rope_scaling of type \"{Name}\" is not supported; there are default, linear and llama3"),
        };
        foreach ((string field, double? value) in needed)
        {
            if (!(value > 0))
                throw new UserException($"{source}: rope_scaling of type \"{Name}\" needs a positive {field}");
        }

        if (Name == "llama3" && LowFactor >= HighFactor)
            throw new UserException($"{source}: rope_scaling has low_freq_factor = {LowFactor} and high_freq_factor = {HighFactor}; the first must be smaller");
    }
}
