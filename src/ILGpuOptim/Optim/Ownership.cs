using ILGpuOptim.Compute;
using ILGpuOptim.Distributed;

namespace ILGpuOptim.Optim;

/// <summary>
/// Gives each trained parameter to one rank, its owner, which keeps the optimizer's state and makes the updates (ZeRO stage 1, Rajbhandari et al., SC 2020,
/// by whole parameters). The assignment depends only on the parameters, the optimizer and the number of ranks.
/// </summary>
internal sealed class Ownership
{
    private readonly Communicator communicator;
    private readonly Dictionary<Parameter, int> owners;
    private readonly int[] order;
    private readonly Func<int, int> ownerOf;
    private float[] host = [];

    private Ownership(Communicator communicator, IReadOnlyList<Parameter> parameters, int[] order) =>
        (this.communicator, this.order, owners, ownerOf) = (communicator, order, parameters.Index().ToDictionary(item => item.Item, item => order[item.Index]), i => order[i % order.Length]);

    /// <summary>
    /// Assigns parameters, those of the highest cost first, each to the rank with the lowest sum so far. A parameter's cost is its share of the state's
    /// bytes plus its share of the estimated time of all updates.
    /// </summary>
    public static Ownership Of(OptimizerEntry entry, StateStorage storage, IReadOnlyList<(Parameter Parameter, OptimizerOptions Options)> parameters, Communicator communicator)
    {
        using Optimizer optimizer = entry.Create(storage);
        var times = new Dictionary<(string, OptimizerOptions), double>();
        double[] time = [.. parameters.Select(item => TimeOf(item.Parameter, item.Options))];
        double[] bytes = [.. parameters.Select(item => (double)optimizer.StateOf(item.Parameter.Shape, item.Options).Sum(tensor => tensor.Bytes))];
        double allTime = Math.Max(1, time.Sum()), allBytes = Math.Max(1, bytes.Sum());
        double[] costs = [.. time.Zip(bytes, (a, b) => (a / allTime) + (b / allBytes))];
        var owners = new int[parameters.Count];
        var loads = new double[communicator.Size];
        foreach (int i in Enumerable.Range(0, owners.Length).OrderByDescending(i => costs[i]))
        {
            int least = Array.IndexOf(loads, loads.Min());
            owners[i] = least;
            loads[least] += costs[i];
        }

        return new Ownership(communicator, [.. parameters.Select(item => item.Parameter)], owners);

        double TimeOf(Parameter parameter, OptimizerOptions options)
        {
            var key = ($"{parameter} {parameter.Data.Type}", options);
            return times.TryGetValue(key, out double known) ? known : times[key] = UpdateCost.Of(entry, storage, parameter, options);
        }
    }

    /// <summary>The rank that owns a parameter.</summary>
    public int Of(Parameter parameter) => owners[parameter];

    /// <summary>True if this rank owns a parameter.</summary>
    public bool IsHere(Parameter parameter) => owners[parameter] == communicator.Rank;

    /// <summary>
    /// Completes values on a device, of which each rank has those of its own parameters: one or more rows with one value for each trained parameter in the
    /// optimizer's order.
    /// </summary>
    public void Share(in Block values)
    {
        if (host.Length < values.Length)
            host = new float[values.Length];
        Span<float> here = host.AsSpan(0, (int)values.Length);
        Device device = values.Memory.Device;
        device.Download(values, here);
        communicator.Share(here, ownerOf);
        device.Upload(here, values);
    }
}
