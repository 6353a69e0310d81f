using System.Text.Json.Serialization;

namespace ILGpuOptim.Layers;

/// <summary>
/// The scaling of rotary frequencies for contexts longer than that of pre-training: <c>rope_scaling</c> of <c>config.json</c>, or
/// <c>rope_parameters</c> in newer files. <see cref="RotaryFrequencies"/> has the formulas.
/// </summary>
public record RotaryScaling
{
    /// <summary>default, linear, dynamic, llama3, yarn or longrope.</summary>
    [JsonPropertyName("rope_type")]
    public string? Kind { get; init; }

    /// <summary>The older name of <see cref="Kind"/>.</summary>
    [JsonPropertyName("type")]
    public string? OldKind { get; init; }

    /// <summary>The base of the frequencies, in newer files.</summary>
    [JsonPropertyName("rope_theta")]
    public double? Theta { get; init; }

    /// <summary>The rotated fraction of a head, in newer files.</summary>
    [JsonPropertyName("partial_rotary_factor")]
    public double? Part { get; init; }

    /// <summary>The factor by which the context is extended.</summary>
    [JsonPropertyName("factor")]
    public double? Factor { get; init; }

    /// <summary>llama3: wavelengths above the original context divided by this are scaled in full.</summary>
    [JsonPropertyName("low_freq_factor")]
    public double? LowFactor { get; init; }

    /// <summary>llama3: wavelengths below the original context divided by this are not scaled.</summary>
    [JsonPropertyName("high_freq_factor")]
    public double? HighFactor { get; init; }

    /// <summary>The context length of pre-training; null: <c>max_position_embeddings</c>.</summary>
    [JsonPropertyName("original_max_position_embeddings")]
    public int? OriginalPositions { get; init; }

    /// <summary>yarn and longrope: multiplies cosines and sines; null: the kind's own formula.</summary>
    [JsonPropertyName("attention_factor")]
    public double? AttentionFactor { get; init; }

    /// <summary>yarn: frequencies with at least this many rotations in the original context are not scaled.</summary>
    [JsonPropertyName("beta_fast")]
    public double? FastTurns { get; init; }

    /// <summary>yarn: frequencies with at most this many rotations in the original context are scaled in full.</summary>
    [JsonPropertyName("beta_slow")]
    public double? SlowTurns { get; init; }

    /// <summary>yarn: with <see cref="AllDimensionsScale"/>, the attention factor's numerator.</summary>
    [JsonPropertyName("mscale")]
    public double? Scale { get; init; }

    /// <summary>yarn: with <see cref="Scale"/>, the attention factor's denominator.</summary>
    [JsonPropertyName("mscale_all_dim")]
    public double? AllDimensionsScale { get; init; }

    /// <summary>yarn: rounds the borders between frequencies to integers; null: true.</summary>
    [JsonPropertyName("truncate")]
    public bool? Truncates { get; init; }

    /// <summary>longrope: the divisors of the frequencies in sequences longer than the original context.</summary>
    [JsonPropertyName("long_factor")]
    public IReadOnlyList<double>? LongFactors { get; init; }

    /// <summary>longrope: the divisors of the frequencies in other sequences.</summary>
    [JsonPropertyName("short_factor")]
    public IReadOnlyList<double>? ShortFactors { get; init; }

    /// <summary>The kind, under whichever name the file has it.</summary>
    public string Name => Kind ?? OldKind ?? "default";

    /// <summary>The fields that each kind reads, beside the original context.</summary>
    private static readonly Dictionary<string, string[]> Fields = new()
    {
        ["default"] = [],
        ["linear"] = ["factor"],
        ["dynamic"] = ["factor"],
        ["llama3"] = ["factor", "low_freq_factor", "high_freq_factor"],
        ["yarn"] = ["factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"],
        ["longrope"] = ["factor", "attention_factor", "long_factor", "short_factor"],
    };

    /// <summary>The kinds.</summary>
    internal static IReadOnlyCollection<string> Kinds => Fields.Keys;

    /// <summary>Checks the kind, its values, and that no values of another kind are given.</summary>
    /// <param name="place">The file and the field, for messages.</param>
    /// <param name="kinds">The kinds that the family has.</param>
    /// <param name="size">Rotated coordinates of a head.</param>
    /// <param name="positions">max_position_embeddings.</param>
    /// <param name="theta">The base.</param>
    /// <exception cref="UserException">With the field and what to do.</exception>
    internal void Check(string place, IReadOnlyCollection<string> kinds, int size, int positions, double theta)
    {
        if (!kinds.Contains(Name))
            throw new UserException($"{place} of type \"{Name}\" is not supported; there are {string.Join(", ", kinds)}");
        CheckUnread(place);
        if (OriginalPositions < 1)
            throw new UserException($"{place} has original_max_position_embeddings = {OriginalPositions}; it must be at least 1");
        switch (Name)
        {
            case "linear":
                Positive(place, "factor", Factor);
                break;
            case "dynamic":
                Positive(place, "factor", Factor);
                if (size < 4)
                    throw new UserException($"{place} of type \"dynamic\" needs at least 4 rotated coordinates, there are {size}");
                if (OriginalPositions is { } original && original != positions)
                    throw new UserException($"{place} of type \"dynamic\" has original_max_position_embeddings = {original}, but it stretches from max_position_embeddings = {positions}; remove it");
                break;
            case "llama3":
                Positive(place, "factor", Factor);
                Positive(place, "low_freq_factor", LowFactor);
                Positive(place, "high_freq_factor", HighFactor);
                if (LowFactor >= HighFactor)
                    throw new UserException($"{place} has low_freq_factor = {LowFactor} and high_freq_factor = {HighFactor}; the first must be smaller");
                break;
            case "yarn":
                CheckYarn(place, theta);
                break;
            case "longrope":
                CheckLong(place, size, positions);
                break;
        }
    }

    private void CheckYarn(string place, double theta)
    {
        if (theta <= 1)
            throw new UserException($"{place} of type \"yarn\" needs a rope_theta above 1, not {theta}");
        Positive(place, "factor", Factor);
        Positive(place, "attention_factor", AttentionFactor ?? 1);
        Positive(place, "beta_fast", FastTurns ?? 32);
        Positive(place, "beta_slow", SlowTurns ?? 1);
        if ((FastTurns ?? 32) < (SlowTurns ?? 1))
            throw new UserException($"{place} has beta_fast = {FastTurns ?? 32} and beta_slow = {SlowTurns ?? 1}; the first must not be smaller");
        Positive(place, "mscale", Scale is null or 0 ? 1 : Scale);
        Positive(place, "mscale_all_dim", AllDimensionsScale is null or 0 ? 1 : AllDimensionsScale);
    }

    private void CheckLong(string place, int size, int positions)
    {
        Positive(place, "factor", Factor ?? 1);
        Positive(place, "attention_factor", AttentionFactor ?? 1);
        foreach ((string field, IReadOnlyList<double>? factors) in ((string, IReadOnlyList<double>?)[])[("long_factor", LongFactors), ("short_factor", ShortFactors)])
        {
            if (factors?.Count != size / 2)
                throw new UserException($"{place} of type \"longrope\" has {factors?.Count ?? 0} values in {field}; half of the {size} rotated coordinates of a head need {size / 2}");
            foreach (double factor in factors)
                Positive(place, field, factor);
        }

        if (AttentionFactor is null && (Factor ?? (double)positions / (OriginalPositions ?? positions)) > 1 && (OriginalPositions ?? positions) < 2)
            throw new UserException($"{place} of type \"longrope\" needs original_max_position_embeddings of at least 2");
    }

    private void CheckUnread(string place)
    {
        (string Field, object? Value)[] given =
        [
            ("factor", Factor), ("low_freq_factor", LowFactor), ("high_freq_factor", HighFactor), ("attention_factor", AttentionFactor), ("beta_fast", FastTurns),
            ("beta_slow", SlowTurns), ("mscale", Scale), ("mscale_all_dim", AllDimensionsScale), ("truncate", Truncates), ("long_factor", LongFactors), ("short_factor", ShortFactors),
        ];
        if (given.FirstOrDefault(item => item.Value is not null && !Fields[Name].Contains(item.Field)).Field is { } unread)
            throw new UserException($"{place} has {unread}, which rope_type \"{Name}\" does not use; it belongs to {string.Join(" or ", Fields.Where(kind => kind.Value.Contains(unread)).Select(kind => kind.Key))}");
    }

    private static void Positive(string place, string field, double? value)
    {
        if (!(value > 0 && double.IsFinite(value.Value)))
            throw new UserException($"{place} needs a positive {field}{(value is null ? "" : $", not {value}")}");
    }
}
