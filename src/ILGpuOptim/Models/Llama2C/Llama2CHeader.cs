using System.Buffers.Binary;

namespace ILGpuOptim.Models;

/// <summary>
/// The header of a checkpoint of llama2.c in its legacy format: seven little-endian integers. A negative vocabulary says
/// that the head has a matrix of its own.
/// </summary>
/// <param name="HiddenSize">The hidden size: the elements of each token's vector.</param>
/// <param name="IntermediateSize">The intermediate size of the feed-forward layers.</param>
/// <param name="Layers">Layers.</param>
/// <param name="Heads">Query heads.</param>
/// <param name="KeyHeads">Key and value heads.</param>
/// <param name="VocabularySize">Token ids, without the sign.</param>
/// <param name="ContextLength">The longest sequence.</param>
/// <param name="TieWordEmbeddings">Ties the head to the token embedding: both are one tensor.</param>
internal readonly record struct Llama2CHeader(int HiddenSize, int IntermediateSize, int Layers, int Heads, int KeyHeads, int VocabularySize, int ContextLength, bool TieWordEmbeddings)
{
    /// <summary>Bytes of the header.</summary>
    public const int Bytes = 7 * sizeof(int);

    /// <summary>"ak42", with which newer formats begin.</summary>
    private const int NewMagic = 0x616B3432;

    public int HeadSize => HiddenSize / Heads;

    /// <summary>Bytes of a file with this header, tables of angles and all; damaged headers may ask for more than 64 bits hold.</summary>
    public Int128 FileBytes
    {
        get
        {
            Int128 hidden = HiddenSize, key = (Int128)KeyHeads * HeadSize;
            Int128 layer = 2 * hidden + 2 * hidden * hidden + 2 * hidden * key + 3 * hidden * IntermediateSize;
            Int128 floats = (TieWordEmbeddings ? 1 : 2) * (Int128)VocabularySize * hidden + Layers * layer + hidden + (Int128)ContextLength * (HeadSize / 2) * 2;
            return Bytes + floats * sizeof(float);
        }
    }

    /// <summary>Reads and checks a header.</summary>
    /// <exception cref="UserException">It is none, or its sizes contradict each other or the file's length.</exception>
    public static Llama2CHeader Read(ReadOnlySpan<byte> bytes, long fileBytes, string path)
    {
        if (bytes.Length < Bytes)
            throw new UserException($"{path}: {bytes.Length} bytes are too few for the header of a llama2.c checkpoint");
        Span<int> fields = stackalloc int[7];
        for (int i = 0; i < fields.Length; i++)
            fields[i] = BinaryPrimitives.ReadInt32LittleEndian(bytes[(i * sizeof(int))..]);
        if (fields[0] == NewMagic)
            throw new UserException($"{path}: this is version {fields[1]} of llama2.c's format; only the legacy format is read, which export.py writes as version 0");
        if (fields[0] == ForeignModel.LlmCMagic)
            throw ForeignModel.Explain(path);
        var header = new Llama2CHeader(fields[0], fields[1], fields[2], fields[3], fields[4], fields[5] == int.MinValue ? 0 : Math.Abs(fields[5]), fields[6], fields[5] > 0);
        string sizes = $"dim {fields[0]}, hidden_dim {fields[1]}, n_layers {fields[2]}, n_heads {fields[3]}, n_kv_heads {fields[4]}, vocab_size {fields[5]}, seq_len {fields[6]}";
        if (header.HiddenSize < 1 || header.IntermediateSize < 1 || header.Layers < 1 || header.Heads < 1 || header.KeyHeads < 1 || header.VocabularySize < 1 || header.ContextLength < 1)
            throw new UserException($"{path}: no legacy checkpoint of llama2.c: its header says {sizes}");
        if (header.HiddenSize % header.Heads != 0 || header.Heads % header.KeyHeads != 0 || header.HeadSize % 2 != 0)
            throw new UserException($"{path}: no legacy checkpoint of llama2.c: the sizes of its header do not divide each other: {sizes}");
        if (header.FileBytes != fileBytes)
            throw new UserException($"{path}: its header ({sizes}) makes {header.FileBytes:N0} bytes, but the file has {fileBytes:N0}; it is cut short, or no legacy checkpoint of llama2.c");
        return header;
    }

    /// <summary>The header as the file has it.</summary>
    public byte[] ToBytes()
    {
        var bytes = new byte[Bytes];
        int[] fields = [HiddenSize, IntermediateSize, Layers, Heads, KeyHeads, TieWordEmbeddings ? VocabularySize : -VocabularySize, ContextLength];
        for (int i = 0; i < fields.Length; i++)
            BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(i * sizeof(int)), fields[i]);
        return bytes;
    }
}
