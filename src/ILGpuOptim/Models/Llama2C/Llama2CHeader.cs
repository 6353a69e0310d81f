using System.Buffers.Binary;

namespace ILGpuOptim.Models;

/// <summary>
/// The seven little-endian numbers that a checkpoint of llama2.c in its legacy format begins with. A negative vocabulary says
/// that the head has a matrix of its own.
/// </summary>
/// <param name="Width">Numbers for each token.</param>
/// <param name="IntermediateSize">The width inside the feed-forward layer.</param>
/// <param name="Layers">Layers.</param>
/// <param name="Heads">Query heads.</param>
/// <param name="KeyHeads">Key and value heads.</param>
/// <param name="VocabularySize">Token ids, without the sign.</param>
/// <param name="Positions">The longest sequence.</param>
/// <param name="Tied">Whether the head shares the token embedding.</param>
internal readonly record struct Llama2CHeader(int Width, int IntermediateSize, int Layers, int Heads, int KeyHeads, int VocabularySize, int Positions, bool Tied)
{
    /// <summary>Bytes of the header.</summary>
    public const int Bytes = 7 * sizeof(int);

    /// <summary>"ak42", with which newer formats begin.</summary>
    private const int NewMagic = 0x616B3432;

    public int HeadSize => Width / Heads;

    /// <summary>Bytes of a file with this header, tables of angles and all; damaged headers may ask for more than 64 bits hold.</summary>
    public Int128 FileBytes
    {
        get
        {
            Int128 width = Width, key = (Int128)KeyHeads * HeadSize;
            Int128 layer = 2 * width + 2 * width * width + 2 * width * key + 3 * width * IntermediateSize;
            Int128 floats = (Tied ? 1 : 2) * (Int128)VocabularySize * width + Layers * layer + width + (Int128)Positions * (HeadSize / 2) * 2;
            return Bytes + floats * sizeof(float);
        }
    }

    /// <summary>Reads and checks a header.</summary>
    /// <exception cref="UserException">It is none, or its sizes contradict each other or the file's length.</exception>
    public static Llama2CHeader Read(ReadOnlySpan<byte> bytes, long fileBytes, string path)
    {
        if (bytes.Length < Bytes)
            throw new UserException($"{path}: {bytes.Length} bytes are too few for the header of a llama2.c checkpoint");
        Span<int> numbers = stackalloc int[7];
        for (int i = 0; i < numbers.Length; i++)
            numbers[i] = BinaryPrimitives.ReadInt32LittleEndian(bytes[(i * sizeof(int))..]);
        if (numbers[0] == NewMagic)
            throw new UserException($"{path}: this is version {numbers[1]} of llama2.c's format; only the legacy format is read, which export.py writes as version 0");
        if (numbers[0] == ForeignModel.LlmCMagic)
            throw ForeignModel.Explain(path);
        var header = new Llama2CHeader(numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5] == int.MinValue ? 0 : Math.Abs(numbers[5]), numbers[6], numbers[5] > 0);
        string sizes = $"dim {numbers[0]}, hidden_dim {numbers[1]}, n_layers {numbers[2]}, n_heads {numbers[3]}, n_kv_heads {numbers[4]}, vocab_size {numbers[5]}, seq_len {numbers[6]}";
        if (header.Width < 1 || header.IntermediateSize < 1 || header.Layers < 1 || header.Heads < 1 || header.KeyHeads < 1 || header.VocabularySize < 1 || header.Positions < 1)
            throw new UserException($"{path}: no legacy checkpoint of llama2.c: its header says {sizes}");
        if (header.Width % header.Heads != 0 || header.Heads % header.KeyHeads != 0 || header.HeadSize % 2 != 0)
            throw new UserException($"{path}: no legacy checkpoint of llama2.c: the sizes of its header do not divide each other: {sizes}");
        if (header.FileBytes != fileBytes)
            throw new UserException($"{path}: its header ({sizes}) makes {header.FileBytes:N0} bytes, but the file has {fileBytes:N0}; it is cut short, or no legacy checkpoint of llama2.c");
        return header;
    }

    /// <summary>The header as the file has it.</summary>
    public byte[] ToBytes()
    {
        var bytes = new byte[Bytes];
        int[] numbers = [Width, IntermediateSize, Layers, Heads, KeyHeads, Tied ? VocabularySize : -VocabularySize, Positions];
        for (int i = 0; i < numbers.Length; i++)
            BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(i * sizeof(int)), numbers[i]);
        return bytes;
    }
}
