using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Layers;

/// <summary>Part of a model: it owns parameters.</summary>
public abstract class Layer
{
    private readonly List<Parameter> parameters = [];
    private readonly List<Layer> parts = [];

    /// <summary>The parameters, in the order of the model's file.</summary>
    public IReadOnlyList<Parameter> Parameters => parameters;

    /// <summary>The products within, in the order of the model's file.</summary>
    internal IEnumerable<Linear> Linears => (this is Linear linear ? [linear] : Enumerable.Empty<Linear>()).Concat(parts.SelectMany(part => part.Linears));

    /// <summary>Makes a parameter with normal random values (or constant ones where <paramref name="deviation"/> is 0).</summary>
    protected Parameter Add(Initializer initializer, string name, float deviation, float constant, params ReadOnlySpan<int> shape) =>
        Add(initializer, name, ParameterRole.Other, deviation, constant, shape);

    /// <summary>As the other, for a parameter of a role.</summary>
    protected Parameter Add(Initializer initializer, string name, ParameterRole role, float deviation, float constant, params ReadOnlySpan<int> shape) =>
        Add(initializer, name, role, deviation, constant, null, shape);

    /// <summary>As the other, with values of a truncated normal distribution.</summary>
    protected Parameter Add(Initializer initializer, string name, ParameterRole role, float deviation, float constant, float? truncation, params ReadOnlySpan<int> shape)
    {
        var parameter = new Parameter(initializer.Device, name, initializer.Storage.TypeOf(role), shape);
        initializer.Fill(parameter, deviation, constant, truncation);
        parameters.Add(parameter);
        return parameter;
    }

    /// <summary>Counts a part's parameters among this layer's.</summary>
    protected T Add<T>(T part) where T : Layer
    {
        parameters.AddRange(part.Parameters);
        parts.Add(part);
        return part;
    }
}

/// <summary>Fills new parameters: each has a random stream of its own, so its values depend on the seed and its place alone.</summary>
/// <param name="device">Where the parameters live.</param>
/// <param name="seed">Repeats the same values.</param>
public sealed class Initializer(Device device, ulong seed)
{
    private ulong stream;

    /// <summary>Where the parameters live.</summary>
    public Device Device { get; } = device;

    /// <summary>How the parameters are stored.</summary>
    public ParameterStorage Storage { get; init; }

    /// <summary>Normal values of a standard deviation, or the constant where that is 0; the nearest to them that can be stored.</summary>
    /// <param name="parameter">What is filled.</param>
    /// <param name="deviation">The standard deviation.</param>
    /// <param name="constant">Every value where the standard deviation is 0.</param>
    /// <param name="truncation">Values lie within ± this many standard deviations, as those of a normal distribution that is cut there; null: not cut.</param>
    public void Fill(Parameter parameter, float deviation, float constant, float? truncation = null)
    {
        Block values = parameter.IsNarrow ? Device.Pool.Rent(parameter.Length) : parameter.Data;
        if (deviation == 0)
            Device.Fill(values, constant);
        else
            Device.Random(values, RandomKind.Normal, deviation, seed, stream);
        if (deviation != 0 && truncation is { } factor)
            Truncate(values, deviation, factor * deviation);
        if (parameter.IsNarrow)
            parameter.Store(values, seed: 0);
        stream++;
    }

    /// <summary>Draws values beyond a bound again; the few that still lie beyond it after all rounds become the bound.</summary>
    private void Truncate(in Block values, float deviation, float bound)
    {
        const int Rounds = 8;
        Block drawn = Device.Pool.Rent(values.Length);
        for (ulong round = 1; round <= Rounds; round++)
        {
            Device.Random(drawn, RandomKind.Normal, deviation, seed, stream | round << 48);
            Device.Map(new ReplaceRule(bound), 1, values.Length, values, drawn);
        }

        Device.Map(new CutRule(bound), 1, values.Length, values);
        Device.Pool.Return(drawn);
    }

    private readonly struct ReplaceRule(float bound) : IMap2
    {
        private readonly float bound = bound;

        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L value, ref L other) where L : struct, ILane<L> => value = L.Select(L.Less(L.Splat(bound), L.Abs(value)), other, value);
    }

    private readonly struct CutRule(float bound) : IMap1
    {
        private readonly float bound = bound;

        public static Access Access => Access.Of(Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L value) where L : struct, ILane<L> => value = L.Min(L.Splat(bound), L.Max(L.Splat(-bound), value));
    }
}
