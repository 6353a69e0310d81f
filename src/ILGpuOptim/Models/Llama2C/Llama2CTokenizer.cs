using System.Buffers.Binary;
using System.Text;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>
/// llama2.c's <c>tokenizer.bin</c>: the longest piece's length, then for each id its score, its length and its bytes. It has what a
/// byte-pair model of SentencePiece has, with spaces for SentencePiece's ▁ and line feeds around the two control pieces.
/// </summary>
public static class Llama2CTokenizer
{
    /// <summary>SentencePiece's file.</summary>
    internal const string FileName = "tokenizer.model";

    private const char Space = '\u2581';

    /// <summary>Writes SentencePiece's <c>tokenizer.model</c> with the pieces of a <c>tokenizer.bin</c> into a folder.</summary>
    /// <param name="path">The tokenizer.</param>
    /// <param name="vocabulary">The vocabulary size of the model.</param>
    /// <param name="folder">Where to.</param>
    /// <exception cref="UserException">The file cannot be read, or is none.</exception>
    public static void Import(string path, int vocabulary, string folder)
    {
        try
        {
            byte[] bytes = SourceFile.ReadAllBytes(path, JsonFields.MaxFileBytes, "it is no tokenizer.bin of llama2.c");
            using var file = new AtomicFile(Path.Combine(folder, FileName));
            file.Stream.Write(Convert(bytes, vocabulary, path));
            file.Finish();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{path}: {e.Message}", e);
        }
    }

    /// <summary>The bytes of SentencePiece's file; fields have the numbers of its <c>sentencepiece_model.proto</c>.</summary>
    internal static byte[] Convert(ReadOnlySpan<byte> bytes, int vocabulary, string path)
    {
        var result = new Message();
        int read = sizeof(int);
        for (int id = 0; id < vocabulary; id++)
        {
            if (bytes.Length - read < 2 * sizeof(int))
                throw new UserException($"{path}: it ends at piece {id} of {vocabulary}; it belongs to a model with a smaller vocabulary, or is no tokenizer.bin of llama2.c");
            float score = BinaryPrimitives.ReadSingleLittleEndian(bytes[read..]);
            int length = BinaryPrimitives.ReadInt32LittleEndian(bytes[(read + sizeof(int))..]);
            read += 2 * sizeof(int);
            if (length < 0 || length > bytes.Length - read)
                throw new UserException($"{path}: piece {id} has {length} bytes, but {bytes.Length - read} follow; it is no tokenizer.bin of llama2.c");
            var piece = new Message();
            piece.Bytes(1, Encoding.UTF8.GetBytes(Piece(id, Encoding.UTF8.GetString(bytes.Slice(read, length)))));
            piece.Float(2, score);
            piece.Number(3, Kind(id, bytes.Slice(read, length)));
            result.Bytes(1, piece.ToArray());
            read += length;
        }

        if (read != bytes.Length)
            throw new UserException($"{path}: {bytes.Length - read} bytes follow its {vocabulary} pieces; it belongs to a model with a larger vocabulary, or is no tokenizer.bin of llama2.c");
        var trainer = new Message();
        trainer.Number(3, 2); // byte-pair encoding
        trainer.Number(4, vocabulary);
        trainer.Number(35, 1); // unknown characters as bytes
        trainer.Number(40, 0);
        trainer.Number(41, 1);
        trainer.Number(42, 2);
        result.Bytes(2, trainer.ToArray());
        var normalizer = new Message();
        normalizer.Bytes(1, "identity"u8);
        normalizer.Number(3, 1); // a space before the text
        normalizer.Number(4, 0);
        normalizer.Number(5, 1);
        result.Bytes(3, normalizer.ToArray());
        return result.ToArray();
    }

    private static string Piece(int id, string text) => id switch
    {
        0 => "<unk>",
        1 => "<s>",
        2 => "</s>",
        _ => text.Replace(' ', Space),
    };

    private static int Kind(int id, ReadOnlySpan<byte> piece)
    {
        const int Normal = 1, Unknown = 2, Control = 3, Byte = 6;
        if (id < 3)
            return id == 0 ? Unknown : Control;
        return piece.Length == 6 && piece.StartsWith("<0x"u8) && piece[5] == '>' ? Byte : Normal;
    }

    /// <summary>Fields of a protocol buffer.</summary>
    private sealed class Message
    {
        private readonly List<byte> bytes = [];

        public byte[] ToArray() => [.. bytes];

        public void Number(int field, int value)
        {
            Variable(field << 3);
            Variable(value);
        }

        public void Float(int field, float value)
        {
            Variable(field << 3 | 5);
            Span<byte> raw = stackalloc byte[sizeof(float)];
            BinaryPrimitives.WriteSingleLittleEndian(raw, value);
            bytes.AddRange(raw);
        }

        public void Bytes(int field, ReadOnlySpan<byte> value)
        {
            Variable(field << 3 | 2);
            Variable(value.Length);
            bytes.AddRange(value);
        }

        private void Variable(int value)
        {
            for (uint rest = (uint)value; ; rest >>= 7)
            {
                bytes.Add((byte)(rest < 128 ? rest : rest & 127 | 128));
                if (rest < 128)
                    return;
            }
        }
    }
}
