using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>A layer of a model: it owns parameters, and other layers.</summary>
public abstract class Layer
{
    private readonly List<Parameter> parameters = [];
    private readonly List<Layer> layers = [];

    /// <summary>The parameters, in the order of the model's file.</summary>
    public IReadOnlyList<Parameter> Parameters => parameters;

    /// <summary>The linear layers within, in the order of the model's file.</summary>
    internal IEnumerable<Linear> Linears => (this is Linear linear ? [linear] : Enumerable.Empty<Linear>()).Concat(layers.SelectMany(layer => layer.Linears));

    /// <summary>Adds a parameter with values of a normal distribution, or with one constant.</summary>
    /// <param name="initializer">Allocates and fills the parameter.</param>
    /// <param name="name">The parameter's name in <c>model.safetensors</c>.</param>
    /// <param name="standardDeviation">The standard deviation of the values, whose mean is 0; 0: every value is the constant.</param>
    /// <param name="constant">Every value where the standard deviation is 0; ignored otherwise.</param>
    /// <param name="shape">The sizes.</param>
    /// <returns>The parameter.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The standard deviation is negative, infinite or NaN.</exception>
    protected Parameter Add(Initializer initializer, string name, float standardDeviation, float constant, params ReadOnlySpan<int> shape) =>
        Add(initializer, name, ParameterRole.Other, standardDeviation, constant, shape);

    /// <summary>Adds a parameter with values of a normal distribution, or with one constant.</summary>
    /// <param name="initializer">Allocates and fills the parameter.</param>
    /// <param name="name">The parameter's name in <c>model.safetensors</c>.</param>
    /// <param name="role">What the parameter is for, which decides how it is stored (<see cref="Initializer.Storage"/>).</param>
    /// <param name="standardDeviation">The standard deviation of the values, whose mean is 0; 0: every value is the constant.</param>
    /// <param name="constant">Every value where the standard deviation is 0; ignored otherwise.</param>
    /// <param name="shape">The sizes.</param>
    /// <returns>The parameter.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The standard deviation is negative, infinite or NaN.</exception>
    protected Parameter Add(Initializer initializer, string name, ParameterRole role, float standardDeviation, float constant, params ReadOnlySpan<int> shape) =>
        Add(initializer, name, role, standardDeviation, constant, null, shape);

    /// <summary>Adds a parameter with values of a normal distribution, or with one constant.</summary>
    /// <param name="initializer">Allocates and fills the parameter.</param>
    /// <param name="name">The parameter's name in <c>model.safetensors</c>.</param>
    /// <param name="role">What the parameter is for, which decides how it is stored (<see cref="Initializer.Storage"/>).</param>
    /// <param name="standardDeviation">The standard deviation of the values, whose mean is 0; 0: every value is the constant.</param>
    /// <param name="constant">Every value where the standard deviation is 0; ignored otherwise.</param>
    /// <param name="truncation">The normal distribution is cut at ± this many standard deviations; null: not cut.</param>
    /// <param name="shape">The sizes.</param>
    /// <returns>The parameter.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The standard deviation is negative, infinite or NaN.</exception>
    protected Parameter Add(Initializer initializer, string name, ParameterRole role, float standardDeviation, float constant, float? truncation, params ReadOnlySpan<int> shape)
    {
        if (role != ParameterRole.Other && initializer.Quantization is { } quantization)
            return AddStored(initializer, name, quantization.Type, shape);
        var parameter = new Parameter(initializer.Device, name, initializer.Storage.TypeOf(role), shape);
        initializer.Fill(parameter, standardDeviation, constant, truncation);
        parameters.Add(parameter);
        return parameter;
    }

    /// <summary>Adds a parameter of zeros in a storage type of its own, whatever the initializer's is.</summary>
    private protected Parameter AddStored(Initializer initializer, string name, DType type, params ReadOnlySpan<int> shape)
    {
        // Zero bytes are zeros in every storage type: codes times scales of 0.
        var parameter = new Parameter(initializer.Device, name, type, shape);
        initializer.Device.UploadBytes(new byte[parameter.Bytes], parameter.Data);
        parameters.Add(parameter);
        return parameter;
    }

    /// <summary>Adds a layer, whose parameters become this layer's too.</summary>
    /// <param name="layer">A layer that belongs to no other.</param>
    /// <returns>The layer.</returns>
    protected T Add<T>(T layer) where T : Layer
    {
        parameters.AddRange(layer.Parameters);
        layers.Add(layer);
        return layer;
    }
}

/// <summary>Fills new parameters. Each has a random stream of its own, so its values depend only on the seed and on the number of parameters filled before.</summary>
/// <param name="device">The device of the parameters' memory.</param>
/// <param name="seed">Equal seeds give equal values.</param>
public sealed class Initializer(Device device, ulong seed)
{
    private ulong stream;

    /// <summary>The device of the parameters' memory.</summary>
    public Device Device { get; } = device;

    /// <summary>The storage of the parameters.</summary>
    public ParameterStorage Storage { get; init; }

    /// <summary>The storage of the weights of products, as the model's configuration has it; null: <see cref="Storage"/>.</summary>
    internal QuantizationConfig? Quantization { get; set; }

    /// <summary>Fills a parameter with values of a normal distribution of mean 0, or with one constant, rounded to the nearest that can be stored.</summary>
    /// <param name="parameter">The parameter to fill.</param>
    /// <param name="standardDeviation">The standard deviation; 0: every value is the constant.</param>
    /// <param name="constant">Every value where the standard deviation is 0.</param>
    /// <param name="truncation">The normal distribution is cut at ± this many standard deviations; null: not cut.</param>
    /// <exception cref="ArgumentOutOfRangeException">The standard deviation is negative, infinite or NaN, or the truncation is not above 0.</exception>
    public void Fill(Parameter parameter, float standardDeviation, float constant, float? truncation = null)
    {
        Scalars.NotNegative(nameof(Initializer), standardDeviation, parameter);
        Scalars.Positive(nameof(Initializer), truncation ?? 1, parameter, nameof(truncation));
        Block values = parameter.IsNarrow ? Device.Pool.Rent(parameter.Length) : parameter.Data;
        if (standardDeviation == 0)
            Device.Fill(values, constant);
        else
            Device.Random(values, RandomKind.Normal, standardDeviation, seed, stream);
        if (standardDeviation != 0 && truncation is { } factor)
            Truncate(values, standardDeviation, factor * standardDeviation);
        if (parameter.IsNarrow)
            parameter.Store(values, seed: 0);
        stream++;
    }

    /// <summary>Samples values beyond a bound again; the few that still lie beyond it after all rounds become the bound.</summary>
    private void Truncate(in Block values, float standardDeviation, float bound)
    {
        const int Rounds = 8;
        Block sampled = Device.Pool.Rent(values.Length);
        for (ulong round = 1; round <= Rounds; round++)
        {
            Device.Random(sampled, RandomKind.Normal, standardDeviation, seed, stream | round << 48);
            Device.Map(new ReplaceRule(bound), 1, values.Length, values, sampled);
        }

        Device.Map(new ClampRule(bound), 1, values.Length, values);
        Device.Pool.Return(sampled);
    }

    private readonly struct ReplaceRule(float bound) : IMap2
    {
        private readonly float bound = bound;

        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L value, ref L other) where L : struct, ILane<L> => value = L.Select(L.Less(L.Splat(bound), L.Abs(value)), other, value);
    }

    private readonly struct ClampRule(float bound) : IMap1
    {
        private readonly float bound = bound;

        public static Access Access => Access.Of(Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L value) where L : struct, ILane<L> => value = L.Min(L.Splat(bound), L.Max(L.Splat(-bound), value));
    }
}
