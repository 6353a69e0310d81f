using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Training;

/// <summary>The weights of a model that is read from a checkpoint.</summary>
public enum WeightChoice
{
    /// <summary>The exponential moving average (<see cref="TrainingSettings.Ema"/>) if the checkpoint has it, else the weights themselves.</summary>
    Default,

    /// <summary>The average.</summary>
    Ema,

    /// <summary>The weights that training goes on with.</summary>
    Raw,
}

/// <summary>
/// The exponential moving average of the trained parameters, in f32: e ← e + (1 − d)(w − e) after each update, with d = min(decay, (1 + n) / (10 + n))
/// after n updates, so that the initial weights are forgotten early.
/// </summary>
internal sealed class WeightAverage : IDisposable
{
    /// <summary>The folder of the averaged model within a checkpoint.</summary>
    public const string Folder = "ema";

    private readonly Device device;
    private readonly IReadOnlyList<Parameter> parameters;
    private readonly double decay;
    private readonly Block[] averages;
    private bool isInUse;

    /// <summary>Takes memory for a set of parameters.</summary>
    public WeightAverage(Device device, IReadOnlyList<Parameter> parameters, double decay)
    {
        (this.device, this.parameters, this.decay) = (device, parameters, decay);
        averages = [.. parameters.Select(parameter => device.Pool.RentPersistent(1, parameter.Length))];
    }

    /// <summary>The number of updates that entered the average; null before <see cref="Begin"/>.</summary>
    public long? Updates { get; private set; }

    /// <summary>The bytes of the average.</summary>
    public long Bytes => parameters.Sum(parameter => MemoryPool.PersistentBytes(sizeof(float) * parameter.Length));

    /// <summary>Begins with the present weights, unless the average has begun.</summary>
    public void Begin()
    {
        if (Updates is not null)
            return;
        foreach ((int i, Parameter parameter) in parameters.Index())
            device.Map(new CopyRule(), parameter.Rows, parameter.Columns, parameter.Data, averages[i]);
        Updates = 0;
    }

    /// <summary>Adds the weights after an update.</summary>
    public void Update()
    {
        long updates = Updates!.Value;
        var rule = new AverageRule((float)(1 - Math.Min(decay, (1.0 + updates) / (10.0 + updates))));
        for (int i = 0; i < averages.Length; i++)
            device.Map(rule, parameters[i].Rows, parameters[i].Columns, averages[i], parameters[i].Data);
        Updates = updates + 1;
    }

    /// <summary>Puts the average in the place of the weights until the result is disposed. Before <see cref="Begin"/> and within another use, does nothing.</summary>
    public IDisposable? Use()
    {
        if (Updates is null || isInUse)
            return null;
        Exchange();
        return new Scope(this);
    }

    /// <summary>Restores an average that <paramref name="load"/> reads into the place of the weights.</summary>
    public void Restore(long updates, Action load)
    {
        Updates = updates;
        using (Use())
            load();
    }

    /// <summary>Replaces the weights by the average, rounded to their storage, and ends it: training is over.</summary>
    public void Apply()
    {
        for (int i = 0; Updates is not null && i < averages.Length; i++)
            device.Map(new CopyRule(), parameters[i].Rows, parameters[i].Columns, averages[i], parameters[i].Data);
        Updates = null;
    }

    /// <summary>Returns the memory to the pool.</summary>
    public void Dispose()
    {
        foreach (Block average in averages)
            device.Pool.Return(average);
    }

    private void Exchange()
    {
        for (int i = 0; i < averages.Length; i++)
            (parameters[i].Data, averages[i]) = (averages[i], parameters[i].Memory);
        isInUse = !isInUse;
    }

    private sealed class Scope(WeightAverage average) : IDisposable
    {
        public void Dispose() => average.Exchange();
    }

    /// <summary>e += rest · (w − e).</summary>
    private readonly struct AverageRule(float rest) : IMap2
    {
        private readonly float rest = rest;

        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L average, ref L weight) where L : struct, ILane<L> => average = L.Fma(L.Splat(rest), weight - average, average);
    }
}
