using ILGpuOptim.Compute;

namespace ILGpuOptim.Layers;

/// <summary>
/// Keys and values of the tokens that a model has seen, layer by layer. A row is a token's keys of all heads, then its values;
/// each sequence has as many rows as the cache's capacity, and all sequences use the same ones.
/// </summary>
internal sealed class KeyValueCache : IDisposable
{
    private readonly Device device;
    private readonly Block[] layers;
    private readonly int[] rowWidths;

    /// <summary>Rents memory.</summary>
    /// <param name="device">The device of the cache.</param>
    /// <param name="keyWidths">Elements of a token's keys in each layer; its values have as many.</param>
    /// <param name="sequences">The number of sequences that are decoded at once.</param>
    /// <param name="capacity">Tokens of each.</param>
    public KeyValueCache(Device device, IReadOnlyList<int> keyWidths, int sequences, int capacity)
    {
        (this.device, Sequences, Capacity) = (device, sequences, capacity);
        rowWidths = [.. keyWidths.Select(width => 2 * width)];
        layers = [.. rowWidths.Select(width => device.Pool.Rent((long)sequences * capacity, width))];
    }

    /// <summary>The number of sequences.</summary>
    public int Sequences { get; }

    /// <summary>Rows of each sequence.</summary>
    public int Capacity { get; }

    /// <summary>Elements from one token to the next.</summary>
    public int RowWidth(int layer) => rowWidths[layer];

    /// <summary>The rows of a layer, from a token of a sequence on.</summary>
    public Block From(int layer, int sequence, int token)
    {
        Block all = layers[layer];
        long start = ((long)sequence * Capacity + token) * rowWidths[layer];
        return all.Slice(start, all.Length - start);
    }

    /// <summary>Copies tokens of a sequence to another.</summary>
    public void Copy(int source, int target, int token, int tokens)
    {
        for (int layer = 0; layer < layers.Length; layer++)
        {
            long length = (long)tokens * rowWidths[layer];
            device.Copy(From(layer, source, token).Slice(0, length), From(layer, target, token).Slice(0, length));
        }
    }

    /// <summary>Zeroes tokens of a sequence: masked keys have weight 0, but 0 times NaN is NaN.</summary>
    public void Clear(int sequence, int token, int tokens)
    {
        if (tokens == 0)
            return;
        for (int layer = 0; layer < layers.Length; layer++)
            device.Fill(From(layer, sequence, token).Slice(0, (long)tokens * rowWidths[layer]), 0);
    }

    /// <summary>Returns the memory.</summary>
    public void Dispose()
    {
        foreach (Block layer in layers)
            device.Pool.Return(layer);
    }
}
