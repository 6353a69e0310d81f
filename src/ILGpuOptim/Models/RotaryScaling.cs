using System.Text.Json.Serialization;
using ILGpuOptim.Files;

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

    /// <summary>Reads an object of <c>config.json</c>; null when there is none.</summary>
    /// <exception cref="UserException">A field is not understood, or the kind is missing although there are numbers for it.</exception>
    internal static RotaryScaling? Read(JsonFields? fields)
    {
        if (fields is null)
            return null;
        var scaling = new RotaryScaling
        {
            Kind = fields.Text("rope_type"),
            OldKind = fields.Text("type"),
            Theta = fields.Number("rope_theta"),
            Factor = fields.Number("factor"),
            LowFactor = fields.Number("low_freq_factor"),
            HighFactor = fields.Number("high_freq_factor"),
            OriginalPositions = fields.Int("original_max_position_embeddings"),
        };
        scaling.CheckKind($"{fields.Source}: {fields.Path}");
        fields.Only("partial_rotary_factor", ConfigFields.IsOne, "rotary positions for part of a head are not modelled");
        fields.Finish();
        return scaling;
    }

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
        CheckKind($"{source}: rope_scaling");
        (string Field, double? Value)[] needed = Name switch
        {
            "linear" => [("factor", Factor)],
            "llama3" => [("factor", Factor), ("low_freq_factor", LowFactor), ("high_freq_factor", HighFactor), ("original_max_position_embeddings", OriginalPositions)],
            _ => [],
        };
        foreach ((string field, double? value) in needed)
        {
            if (!(value > 0 && double.IsFinite(value.Value)))
                throw new UserException($"{source}: rope_scaling of type \"{Name}\" needs a positive {field}");
        }

        if (Name == "llama3" && LowFactor >= HighFactor)
            throw new UserException($"{source}: rope_scaling has low_freq_factor = {LowFactor} and high_freq_factor = {HighFactor}; the first must be smaller");
    }

    private void CheckKind(string source)
    {
        if (Kind is not null && OldKind is not null && Kind != OldKind)
            throw new UserException($"{source} has rope_type \"{Kind}\" and type \"{OldKind}\"; remove one of the two");
        if (Name is not ("default" or "linear" or "llama3"))
            throw new UserException($"{source} of type \"{Name}\" is not supported; there are default, linear and llama3");
        if (Name == "default" && (Factor ?? LowFactor ?? HighFactor) is { } number)
            throw new UserException($"{source} has the number {number}, but no rope_type that uses it; there are linear and llama3");
        if (Name == "linear" && (LowFactor ?? HighFactor) is not null)
            throw new UserException($"{source} of type \"linear\" has low_freq_factor or high_freq_factor, which belong to \"llama3\"");
    }
}
