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
    protected Parameter Add(Initializer initializer, string name, ParameterRole role, float deviation, float constant, params ReadOnlySpan<int> shape)
    {
        var parameter = new Parameter(initializer.Device, name, initializer.Storage.TypeOf(role), shape);
        initializer.Fill(parameter, deviation, constant);
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
    public void Fill(Parameter parameter, float deviation, float constant)
    {
        Block values = parameter.IsNarrow ? Device.Pool.Rent(parameter.Length) : parameter.Data;
        if (deviation == 0)
            Device.Fill(values, constant);
        else
            Device.Random(values, RandomKind.Normal, deviation, seed, stream);
        if (parameter.IsNarrow)
            parameter.Store(values, seed: 0);
        stream++;
    }
}
