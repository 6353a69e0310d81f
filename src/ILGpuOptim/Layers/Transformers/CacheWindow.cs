using ILGpuOptim.Compute;

namespace ILGpuOptim.Layers;

/// <summary>Which rows of a cache a pass writes: some tokens of one sequence, or one token of each.</summary>
/// <param name="Cache">The cache.</param>
/// <param name="Sequence">The sequence; -1 means all.</param>
/// <param name="Token">The row of the first token that is written.</param>
/// <param name="Tokens">Tokens that are written; 1 when all sequences are.</param>
internal readonly record struct CacheWindow(KeyValueCache Cache, int Sequence, int Token, int Tokens)
{
    /// <summary>The number of sequences that the pass reads.</summary>
    public int Sequences => IsAll ? Cache.Sequences : 1;

    /// <summary>True if the pass reads one token of every sequence.</summary>
    public bool IsAll => Sequence < 0;

    /// <summary>The number of keys that the last token sees: those of its sequence from the first row that is written, or from row 0 when all sequences are.</summary>
    public int KeyLength => IsAll ? Token + 1 : Tokens;

    /// <summary>Key rows from one sequence to the next.</summary>
    public int Capacity => Cache.Capacity;

    /// <summary>Writes some columns of the new tokens' rows.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="column">Where in the cache's rows they begin.</param>
    /// <param name="source">The values, from those of the first token on.</param>
    /// <param name="stride">Elements from one token to the next in <paramref name="source"/>.</param>
    /// <param name="columns">Elements of a token.</param>
    public void Append(int layer, int column, in Block source, int stride, int columns)
    {
        Device device = source.Memory.Device;
        int rowWidth = Cache.RowWidth(layer), rows = IsAll ? Cache.Sequences : Tokens;
        Block target = Cache.From(layer, Math.Max(0, Sequence), Token);
        target = target.Slice(column, target.Length - column);
        if (rows == 1)
            device.Copy(source.Slice(0, columns), target.Slice(0, columns));
        else
            device.Map(new CopyRule(), rows, columns, new Operand(source, Layout.Full, stride), new Operand(target, Layout.Full, IsAll ? (long)Cache.Capacity * rowWidth : rowWidth));
    }

    /// <summary>Writes the new tokens' rows head by head.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="source">The values, from the first head of the first token on.</param>
    /// <param name="heads">Heads of a row.</param>
    /// <param name="headStride">Elements from one head to the next in <paramref name="source"/>; a row has no others.</param>
    /// <param name="columns">Elements of a head that are kept.</param>
    public void AppendHeads(int layer, in Block source, int heads, int headStride, int columns)
    {
        Device device = source.Memory.Device;
        for (int i = 0; i < Sequences; i++)
        {
            Block target = Cache.From(layer, IsAll ? i : Sequence, Token);
            long start = (long)i * heads * headStride;
            device.Map(new CopyRule(), (long)Tokens * heads, columns, new Operand(source.Slice(start, source.Length - start), Layout.Full, headStride), target);
        }
    }

    /// <summary>The rows of the keys that the new tokens see.</summary>
    public Block Keys(int layer) => IsAll ? Cache.From(layer, 0, 0) : Cache.From(layer, Sequence, Token);
}
