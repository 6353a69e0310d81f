using ILGpuOptim.Compute;

namespace ILGpuOptim.Generation;

/// <summary>
/// Keys and values of the tokens that a model has seen, layer by layer. A row is a token's keys of all heads, then its values;
/// each sequence has as many rows as the cache's capacity, and all sequences use the same ones.
/// </summary>
internal sealed class KeyValueCache : IDisposable
{
    private readonly Device device;
    private readonly Block[] layers;
    private readonly int sequences, capacity, width;

    /// <summary>Rents memory.</summary>
    /// <param name="device">Where.</param>
    /// <param name="layers">Of the model.</param>
    /// <param name="sequences">Decoded at once.</param>
    /// <param name="capacity">Tokens of each.</param>
    /// <param name="width">Numbers of a token's keys in one layer.</param>
    public KeyValueCache(Device device, int layers, int sequences, int capacity, int width)
    {
        (this.device, this.sequences, this.capacity, this.width) = (device, sequences, capacity, width);
        this.layers = new Block[layers];
        for (int i = 0; i < layers; i++)
            this.layers[i] = device.Pool.Rent((long)sequences * capacity, RowWidth);
    }

    /// <summary>Numbers from one token to the next.</summary>
    public int RowWidth => 2 * width;

    /// <summary>The keys of a layer, from a token of a sequence on, and the values.</summary>
    public (Block Keys, Block Values) From(int layer, int sequence, int token)
    {
        Block all = layers[layer];
        long start = ((long)sequence * capacity + token) * RowWidth;
        return (all.Slice(start, all.Length - start), all.Slice(start + width, all.Length - start - width));
    }

    /// <summary>Stores successive tokens of one sequence; their keys and values are neighbours in each row of <paramref name="source"/>.</summary>
    public void Append(int layer, int sequence, int token, int tokens, in Block source, int stride)
    {
        Block target = From(layer, sequence, token).Keys;
        device.Map(new CopyRule(), tokens, RowWidth, new Operand(source, Layout.Full, stride), target);
    }

    /// <summary>Stores a token of every sequence.</summary>
    public void Append(int layer, int token, in Block source, int stride)
    {
        Block target = From(layer, 0, token).Keys;
        if (sequences == 1)
            device.Copy(source.Slice(0, RowWidth), target.Slice(0, RowWidth));
        else
            device.Map(new CopyRule(), sequences, RowWidth, new Operand(source, Layout.Full, stride), new Operand(target, Layout.Full, (long)capacity * RowWidth));
    }

    /// <summary>Copies tokens of a sequence to another.</summary>
    public void Copy(int source, int target, int token, int tokens)
    {
        for (int layer = 0; layer < layers.Length; layer++)
        {
            long length = (long)tokens * RowWidth;
            device.Copy(From(layer, source, token).Keys.Slice(0, length), From(layer, target, token).Keys.Slice(0, length));
        }
    }

    /// <summary>Makes the first tokens of a sequence finite: masked keys weigh nothing, but nothing times NaN is NaN.</summary>
    public void Clear(int sequence, int tokens)
    {
        for (int layer = 0; layer < layers.Length; layer++)
            device.Fill(From(layer, sequence, 0).Keys.Slice(0, (long)tokens * RowWidth), 0);
    }

    /// <summary>Gives the memory back.</summary>
    public void Dispose()
    {
        foreach (Block layer in layers)
            device.Pool.Return(layer);
    }
}
