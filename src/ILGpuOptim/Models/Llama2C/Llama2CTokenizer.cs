using System.Buffers.Binary;
using System.Text;
using ILGpuOptim.Data.Tokenization.SentencePieces;
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

    /// <summary>The bytes of SentencePiece's file.</summary>
    internal static byte[] Convert(ReadOnlySpan<byte> bytes, int vocabulary, string path)
    {
        var pieces = new List<Piece>();
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
            pieces.Add(new Piece(PieceText(id, Encoding.UTF8.GetString(bytes.Slice(read, length))), score, Kind(id, bytes.Slice(read, length))));
            read += length;
        }

        if (read != bytes.Length)
            throw new UserException($"{path}: {bytes.Length - read} bytes follow its {vocabulary} pieces; it belongs to a model with a larger vocabulary, or is no tokenizer.bin of llama2.c");
        return SentencePieceWriter.BytePairs(pieces, addsSpace: true);
    }

    private static string PieceText(int id, string text) => id switch
    {
        0 => "<unk>",
        1 => "<s>",
        2 => "</s>",
        _ => text.Replace(' ', Space),
    };

    private static PieceType Kind(int id, ReadOnlySpan<byte> piece)
    {
        if (id < 3)
            return id == 0 ? PieceType.Unknown : PieceType.Control;
        return piece.Length == 6 && piece.StartsWith("<0x"u8) && piece[5] == '>' ? PieceType.Byte : PieceType.Normal;
    }
}
