using System.Buffers.Binary;
using System.Runtime.InteropServices;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data;

/// <summary>The format of token ids in a <c>.bin</c> file.</summary>
public enum TokenFormat
{
    /// <summary>16-bit ids without a header, as written by nanoGPT.</summary>
    Plain,

    /// <summary>llm.c's file for GPT-2: a header of 256 integers (magic 20240520, version 1, count), then 16-bit ids.</summary>
    LlmC,

    /// <summary>llm.c's file for LLaMA 3: a header of 256 integers (magic 20240801, version 7, count), then 32-bit ids.</summary>
    LlmCWide,
}

/// <summary>Files of token ids, little-endian. Ids are read on demand, so a file may be larger than memory.</summary>
public static class TokenFile
{
    internal const int HeaderBytes = 1024;

    /// <summary>The maximum id in a file. Vocabularies have at most about a million tokens.</summary>
    internal const int MaxId = (1 << 24) - 1;

    /// <summary>
    /// Opens a file of any <see cref="TokenFormat"/>, which is known by the first integer. (To be mistaken for llm.c's format, a plain
    /// file would have to begin with the ids 55448 and 308, of which GPT-2's vocabulary has only the second.)
    /// </summary>
    /// <exception cref="UserException">The file is missing or empty, its size contradicts its header, or it has another format.</exception>
    public static TokenSequence Open(string path)
    {
        FileStream file = SourceFile.Open(path);
        try
        {
            return Read(path, file);
        }
        catch (Exception e)
        {
            file.Dispose();
            if (e is IOException or UnauthorizedAccessException)
                throw new UserException($"{path}: the file cannot be read: {e.Message}; check the path and the read permission", e);
            throw;
        }
    }

    private static TokenSequence Read(string path, FileStream file)
    {
        Span<byte> header = stackalloc byte[HeaderBytes];
        header = header[..file.ReadAtLeast(header, HeaderBytes, throwOnEndOfStream: false)];
        int magic = header.Length == HeaderBytes ? BinaryPrimitives.ReadInt32LittleEndian(header) : 0;
        TokenFormat format = magic == Magic(TokenFormat.LlmC) ? TokenFormat.LlmC : magic == Magic(TokenFormat.LlmCWide) ? TokenFormat.LlmCWide : TokenFormat.Plain;
        if (format == TokenFormat.Plain)
            TokenFileKinds.CheckStart(path, header, file.Length);
        int width = Width(format), start = format == TokenFormat.Plain ? 0 : HeaderBytes;
        long bytes = file.Length - start;
        if (format != TokenFormat.Plain)
        {
            int version = BinaryPrimitives.ReadInt32LittleEndian(header[4..]);
            uint count = BinaryPrimitives.ReadUInt32LittleEndian(header[8..]);
            if (version != Version(format))
                throw new UserException($"{path}: version {version} of llm.c's token files with magic {magic} is unknown; only version {Version(format)} is read");
            if (count * (long)width != bytes)
                throw new UserException($"{path}: the header states {count:N0} tokens of {width * 8} bits, but {bytes:N0} bytes follow; the file was cut short, make it again");
        }

        if (bytes % width != 0)
            throw new UserException($"{path}: {bytes:N0} bytes are not a whole number of {width * 8}-bit tokens; the file was cut short, or is not a token file");
        if (bytes == 0)
            throw new UserException($"{path}: the file has no tokens; give a file with tokens");
        TokenSequence tokens = TokenSequence.From(new TokenFileStore(path, file.SafeFileHandle, start, width), bytes / width);
        if (width == 4 && tokens.Max() is var largest && largest > MaxId)
            throw new UserException($"{path}: the id {largest:N0} is larger than {MaxId:N0}, which no vocabulary reaches; the file is damaged or of another kind, make it again");
        if (format == TokenFormat.Plain)
            TokenFileKinds.CheckIds(path, tokens);
        return tokens;
    }

    /// <summary>Writes a file. It appears under its name when it is complete.</summary>
    /// <param name="path">The file.</param>
    /// <param name="ids">The ids, which must fit the format.</param>
    /// <param name="format">The format.</param>
    /// <exception cref="UserException">An id does not fit, or the file cannot be written.</exception>
    public static void Write(string path, ReadOnlySpan<int> ids, TokenFormat format = TokenFormat.Plain)
    {
        int most = Width(format) == 2 ? ushort.MaxValue : MaxId;
        foreach (int id in ids)
        {
            if (id < 0 || id > most)
                throw new UserException($"{path}: the id {id} is not between 0 and {most}, the range of the format {format}{(most == MaxId ? "" : $"; use {TokenFormat.LlmCWide}")}");
        }

        byte[] bytes = new byte[64 << 10];
        try
        {
            using var file = new AtomicFile(path);
            if (format != TokenFormat.Plain)
            {
                file.Stream.Write(Header(format, ids.Length));
            }

            int width = Width(format);
            for (int piece = bytes.Length / width; !ids.IsEmpty; ids = ids[Math.Min(piece, ids.Length)..])
            {
                int count = Math.Min(piece, ids.Length);
                if (width == 4)
                {
                    file.Stream.Write(MemoryMarshal.AsBytes(ids[..count]));
                    continue;
                }

                for (int i = 0; i < count; i++)
                    BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(i * 2), (ushort)ids[i]);
                file.Stream.Write(bytes.AsSpan(0, count * 2));
            }

            file.Finish();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{path}: the tokens cannot be written: {e.Message}; free some space or choose another folder", e);
        }
    }

    /// <summary>The header of an llm.c file.</summary>
    internal static byte[] Header(TokenFormat format, int count)
    {
        byte[] header = new byte[HeaderBytes];
        BinaryPrimitives.WriteInt32LittleEndian(header, Magic(format));
        BinaryPrimitives.WriteInt32LittleEndian(header.AsSpan(4), Version(format));
        BinaryPrimitives.WriteInt32LittleEndian(header.AsSpan(8), count);
        return header;
    }

    internal static int Width(TokenFormat format) => format == TokenFormat.LlmCWide ? 4 : 2;

    internal static int Magic(TokenFormat format) => format == TokenFormat.LlmCWide ? 20240801 : 20240520;

    private static int Version(TokenFormat format) => format == TokenFormat.LlmCWide ? 7 : 1;
}
