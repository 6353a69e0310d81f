namespace ILGpuOptim.Data.Tokenization;

/// <summary>A byte for each code point, as a two-stage table: equal blocks of 256 code points are stored once.</summary>
internal sealed class CodePointMap
{
    private const int BlockSize = 256;

    private readonly ushort[] blocks = new ushort[CodePointSet.Limit / BlockSize];
    private readonly byte[] values;

    /// <summary>Builds the map from the value of each code point.</summary>
    public CodePointMap(ReadOnlySpan<byte> all)
    {
        var known = new Dictionary<string, ushort>();
        var stored = new List<byte>();
        for (int block = 0; block < blocks.Length; block++)
        {
            ReadOnlySpan<byte> contents = all.Slice(block * BlockSize, BlockSize);
            string key = string.Create(BlockSize, contents, static (text, bytes) =>
            {
                for (int i = 0; i < bytes.Length; i++)
                    text[i] = (char)bytes[i];
            });
            if (!known.TryGetValue(key, out ushort index))
            {
                known[key] = index = (ushort)known.Count;
                stored.AddRange(contents);
            }

            blocks[block] = index;
        }

        values = [.. stored];
    }

    /// <summary>The value of a code point.</summary>
    public byte this[int codePoint] => values[(blocks[codePoint / BlockSize] * BlockSize) + (codePoint % BlockSize)];
}
