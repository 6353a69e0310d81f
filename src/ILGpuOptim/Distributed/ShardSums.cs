using System.Numerics;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Distributed;

/// <summary>
/// Sums the gradients of a rank's virtual shards along a binary tree: ((0 + 1) + (2 + 3)) + …. The shards run one after the other; the sum of each finished
/// subtree waits for that of its sibling, so that log₂ n sums wait at most.
/// </summary>
internal sealed class ShardSums : IDisposable
{
    private readonly Device device;
    private readonly GradientSum sum;
    private readonly Dictionary<Parameter, int> places;
    private readonly bool[] isPresent;
    private readonly Block[][] waiting;
    private readonly int shards;

    /// <summary>Takes memory for the sums.</summary>
    /// <param name="device">The device of the gradients.</param>
    /// <param name="parameters">The parameters that have gradients.</param>
    /// <param name="shards">The number of shards of this rank, a power of two.</param>
    /// <param name="sum">Adds two gradients.</param>
    public ShardSums(Device device, IReadOnlyList<Parameter> parameters, int shards, GradientSum sum)
    {
        (this.device, this.shards, this.sum) = (device, shards, sum);
        places = parameters.Index().ToDictionary(item => item.Item, item => item.Index);
        isPresent = new bool[parameters.Count];
        waiting = [.. Enumerable.Range(0, BitOperations.Log2((uint)shards)).Select(_ => parameters.Select(parameter => device.Pool.RentPersistent(1, parameter.Length, sum.Type)).ToArray())];
    }

    /// <summary>The bytes of the sums.</summary>
    public long Bytes => waiting.Sum(level => level.Sum(block => MemoryPool.PersistentBytes(sum.Type.Bytes(1, block.Length))));

    /// <summary>
    /// Adds a shard's gradient of one parameter to the sums. After the last shard, the gradient is the sum of all; after the others it is kept here, and its
    /// value is forgotten.
    /// </summary>
    /// <exception cref="InvalidOperationException">The parameter has a gradient in one shard and none in another.</exception>
    public void Add(Gradients gradients, Parameter parameter, int shard)
    {
        int place = places[parameter];
        bool has = gradients.Has(parameter);
        if (shard == 0)
            isPresent[place] = has;
        else if (isPresent[place] != has)
            throw new InvalidOperationException($"'{parameter.Name}' has a gradient in one shard of the batch and none in another; every shard must use the same parameters");
        if (!has)
            return;
        Block gradient = gradients[parameter];
        int level = 0;
        for (; (shard >> level & 1) == 1; level++)
            sum.Add(gradient, waiting[level][place]);
        if (shard == shards - 1)
            return;
        device.Copy(gradient, waiting[level][place]);
        gradients.Clear(parameter);
    }

    /// <summary>The sum of values of shards along the same tree.</summary>
    public static float Sum(ReadOnlySpan<float> values) =>
        values.Length == 1 ? values[0] : Sum(values[..(values.Length / 2)]) + Sum(values[(values.Length / 2)..]);

    /// <summary>Returns the memory to the pool.</summary>
    public void Dispose()
    {
        foreach (Block block in waiting.SelectMany(level => level))
            device.Pool.Return(block);
    }
}
