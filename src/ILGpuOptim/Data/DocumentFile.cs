using System.Buffers.Binary;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data;

/// <summary>
/// The file of document ends beside a token file, of the same name with the extension <c>.ends</c>. Little-endian: 8 bytes <c>ILGODOCS</c>, the
/// version 1 and a zero as 32-bit integers, the numbers of tokens and of documents as 64-bit integers, the XXH128 of all token ids as 32-bit
/// integers (16 bytes, most significant first), then for each document the number of tokens up to its end, as a 64-bit integer.
/// </summary>
internal static class DocumentFile
{
    /// <summary>The file extension.</summary>
    public const string Extension = ".ends";

    internal const int HeaderBytes = 48;

    private const int Version = 1;

    private static ReadOnlySpan<byte> Magic => "ILGODOCS"u8;

    /// <summary>The path of the file of ends of a token file.</summary>
    public static string PathOf(string tokenFile) => Path.ChangeExtension(tokenFile, Extension);

    /// <summary>Opens the ends of a token file's documents, and checks them against all tokens; null if there is no such file.</summary>
    /// <param name="tokenFile">The token file.</param>
    /// <param name="tokens">Its tokens.</param>
    /// <exception cref="UserException">The file is damaged, or belongs to other tokens.</exception>
    public static DocumentEnds? TryOpen(string tokenFile, TokenSequence tokens)
    {
        string path = PathOf(tokenFile);
        if (!File.Exists(path))
            return null;
        FileStream file = SourceFile.Open(path);
        try
        {
            return Read(path, file, tokens);
        }
        catch (Exception e)
        {
            file.Dispose();
            if (e is IOException or UnauthorizedAccessException)
                throw new UserException($"{path}: the file cannot be read: {e.Message}; check the read permission", e);
            throw;
        }
    }

    private static DocumentEnds Read(string path, FileStream file, TokenSequence tokens)
    {
        Span<byte> header = stackalloc byte[HeaderBytes];
        header = header[..file.ReadAtLeast(header, HeaderBytes, throwOnEndOfStream: false)];
        if (header.Length < HeaderBytes || !header.StartsWith(Magic))
            throw new UserException($"{path}: the file does not contain document ends; make it again with prepare");
        if (BinaryPrimitives.ReadInt32LittleEndian(header[8..]) is var version && version != Version)
            throw new UserException($"{path}: version {version} of document ends is unknown; only version {Version} is read");
        long length = BinaryPrimitives.ReadInt64LittleEndian(header[16..]), count = BinaryPrimitives.ReadInt64LittleEndian(header[24..]), rest = file.Length - HeaderBytes;
        if (count < 1 || rest % sizeof(long) != 0 || rest / sizeof(long) != count)
            throw new UserException($"{path}: the header states {count:N0} documents, but {rest:N0} bytes of ends follow; the file was cut short, make it again with prepare");
        if (length != tokens.Length || !header[32..].SequenceEqual(Hash(tokens)))
            throw new UserException($"{path}: the ends belong to other tokens ({length:N0}) than those of the token file ({tokens.Length:N0}); make both again with prepare, or remove it");
        var store = new DocumentEndFileStore(path, file.SafeFileHandle, HeaderBytes);
        CheckOrder(path, store, count, length);
        return DocumentEnds.From(store, count, length);
    }

    private static void CheckOrder(string path, DocumentEndFileStore store, long count, long length)
    {
        var ends = new long[Math.Min(count, 1 << 16)];
        long before = 0;
        for (long first = 0; first < count; first += ends.Length)
        {
            Span<long> piece = ends.AsSpan(0, (int)Math.Min(ends.Length, count - first));
            store.Read(first, piece);
            for (int i = 0; i < piece.Length; before = piece[i], i++)
            {
                if (piece[i] <= before || piece[i] > length)
                    throw new UserException($"{path}: the end {piece[i]:N0} of document {first + i + 1:N0} is not between the previous end, {before:N0}, and the {length:N0} tokens; make the file again with prepare");
            }
        }

        if (before != length)
            throw new UserException($"{path}: the last document ends at {before:N0}, not with the {length:N0} tokens; make the file again with prepare");
    }

    private static byte[] Hash(TokenSequence tokens)
    {
        var hash = new XxHash128();
        int[] piece = new int[1 << 16];
        for (long start = 0; start < tokens.Length; start += piece.Length)
        {
            Span<int> ids = piece.AsSpan(0, (int)Math.Min(piece.Length, tokens.Length - start));
            tokens.CopyTo(start, ids);
            hash.Append(MemoryMarshal.AsBytes(ids));
        }

        return hash.GetCurrentHash();
    }

    /// <summary>The header of a file.</summary>
    internal static byte[] Header(long tokens, long documents, ReadOnlySpan<byte> hash)
    {
        byte[] header = new byte[HeaderBytes];
        Magic.CopyTo(header);
        BinaryPrimitives.WriteInt32LittleEndian(header.AsSpan(8), Version);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(16), tokens);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(24), documents);
        hash.CopyTo(header.AsSpan(32));
        return header;
    }
}
