using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>
/// <c>rope_parameters</c>, where newer files keep everything about rotary positions: one set for all layers, or one for each kind of layer.
/// </summary>
public sealed record RotaryParameters : RotaryScaling
{
    /// <summary>The parameters of layers with full attention.</summary>
    [JsonPropertyName("full_attention")]
    public RotaryScaling? Full { get; init; }

    /// <summary>The parameters of layers with a sliding window.</summary>
    [JsonPropertyName("sliding_attention")]
    public RotaryScaling? Sliding { get; init; }
}

/// <summary>The rotary fields of a configuration in order of precedence: <c>rope_parameters</c>, older fields, the family's defaults.</summary>
/// <param name="Parameters">rope_parameters, or its part for a kind of layers; or null.</param>
/// <param name="Scaling">rope_scaling; or null.</param>
internal sealed record RotaryFields(RotaryScaling? Parameters, RotaryScaling? Scaling)
{
    /// <summary>The name of <see cref="Parameters"/>, for messages.</summary>
    public string Place { get; init; } = "rope_parameters";

    /// <summary>The top-level base; or null.</summary>
    public double? TopTheta { get; init; }

    /// <summary>The name of <see cref="TopTheta"/>, for messages.</summary>
    public string ThetaField { get; init; } = "rope_theta";

    /// <summary>The family's base.</summary>
    public double DefaultTheta { get; init; } = 10000;

    /// <summary>The rotated fraction of a head at the file's top level; or null.</summary>
    public double? TopPart { get; init; }

    /// <summary>The name of <see cref="TopPart"/>, for messages.</summary>
    public string PartField { get; init; } = "partial_rotary_factor";

    /// <summary>The family's rotated fraction of a head; null: the family rotates whole heads.</summary>
    public double? DefaultPart { get; init; }

    /// <summary>The top-level field that overrides the context length of pre-training; or null.</summary>
    public int? OriginalPositions { get; init; }

    /// <summary>The kinds that the family has.</summary>
    public IReadOnlyCollection<string> Kinds { get; init; } = RotaryScaling.Kinds;

    /// <summary>Other names of kinds.</summary>
    public IReadOnlyDictionary<string, string> OtherKinds { get; init; } = new Dictionary<string, string>();

    /// <summary>The base.</summary>
    public double Theta => Parameters?.Theta ?? TopTheta ?? Scaling?.Theta ?? DefaultTheta;

    /// <summary>The rotated fraction of a head.</summary>
    private double Part => Parameters?.Part ?? TopPart ?? Scaling?.Part ?? DefaultPart ?? 1;

    private string PartPlace => Parameters?.Part is not null ? Place + ".partial_rotary_factor"
        : TopPart is null && Scaling?.Part is not null ? "rope_scaling.partial_rotary_factor"
        : PartField;

    private RotaryScaling? Given => Parameters ?? Scaling;

    /// <summary>The scaling of the frequencies; or null.</summary>
    public RotaryScaling? Effective => Given is not { } given ? null : given with
    {
        Kind = OtherKinds.GetValueOrDefault(given.Name, given.Name),
        OldKind = null,
        OriginalPositions = OriginalPositions ?? given.OriginalPositions,
    };

    /// <summary>The rotary positions of heads of a size.</summary>
    public RotaryDescription Describe(int headSize, int positions) => new(Theta, SizeIn(headSize), Effective) { MaxPositions = positions };

    /// <summary>True if two objects of a file hold the same values, except the base.</summary>
    private static bool Agree(RotaryScaling one, RotaryScaling other) => JsonNode.DeepEquals(Comparable(one), Comparable(other));

    private static JsonObject Comparable(RotaryScaling scaling)
    {
        RotaryScaling plain = scaling with { Theta = null, Kind = scaling.Name, OldKind = null };
        return ConfigSchema.Of(plain.GetType()).Write(plain);
    }

    /// <summary>Checks that the fields are supported and agree.</summary>
    /// <exception cref="UserException">With the field.</exception>
    public void Check(string source, int headSize, int positions)
    {
        string place = $"{source}: {(Parameters is null ? "rope_scaling" : Place)}";
        if (Parameters is RotaryParameters { Full: not null } or RotaryParameters { Sliding: not null })
            throw new UserException($"{place} has full_attention or sliding_attention, but all layers of this family have the same rotary positions; put their fields into rope_parameters itself");
        if (Parameters is not null && Scaling is not null && !Agree(Parameters, Scaling))
            throw new UserException($"{source}: rope_parameters and rope_scaling contradict each other; remove one of the two");
        if (TopTheta is { } theta && Scaling?.Theta is { } other && Parameters?.Theta is null && theta != other)
            throw new UserException($"{source}: {ThetaField} = {theta}, but rope_scaling has {other}; remove one of the two");
        if (TopPart is { } part && Scaling?.Part is { } otherPart && Parameters?.Part is null && part != otherPart)
            throw new UserException($"{source}: {PartField} = {part}, but rope_scaling has {otherPart}; remove one of the two");
        if (!(Theta > 0 && double.IsFinite(Theta)))
            throw new UserException($"{source}: {ThetaField} = {Theta}; it must be positive");
        if (Given is { Kind: { } kind, OldKind: { } old } && kind != old)
            throw new UserException($"{place} has rope_type \"{kind}\" and type \"{old}\"; remove one of the two");
        if (DefaultPart is null && Part != 1)
            throw new UserException($"{source}: {PartPlace} = {Part}: rotary positions for part of a head are not supported for this family");
        if (!(Part > 0 && Part <= 1))
            throw new UserException($"{source}: {PartPlace} = {Part}; it must lie in (0, 1]");
        int size = SizeIn(headSize);
        if (size % 2 != 0 || size == 0)
        {
            throw new UserException(Part == 1
                ? $"{source}: heads of {size} elements cannot be rotated in pairs; hidden_size / num_attention_heads, or head_dim, must be even"
                : $"{source}: {PartPlace} = {Part} of heads of {headSize} elements is {size}, which cannot be rotated in pairs; it must be an even number");
        }

        Effective?.Check(place, Kinds, size, positions, Theta);
    }

    private int SizeIn(int headSize) => (int)(headSize * Part);
}
