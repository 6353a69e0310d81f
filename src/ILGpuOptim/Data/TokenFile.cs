using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace ILGpuOptim.Data;

/// <summary>
/// Token files of 16-bit ids: plain, as nanoGPT writes them, or with llm.c's header of 256 integers (magic 20240520,
/// version 1, count).
/// </summary>
public static class TokenFile
{
    private const int Magic = 20240520;
    private const int HeaderBytes = 1024;

    /// <summary>Reads a file of either kind.</summary>
    /// <exception cref="UserException">It is missing, or its size contradicts its header.</exception>
    public static ushort[] Read(string path)
    {
        byte[] bytes;
        try
        {
            bytes = File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{path}: {e.Message}", e);
        }

        int start = 0, count = bytes.Length / 2;
        if (bytes.Length >= HeaderBytes && BinaryPrimitives.ReadInt32LittleEndian(bytes) == Magic)
        {
            int version = BinaryPrimitives.ReadInt32LittleEndian(bytes.AsSpan(4)), stated = BinaryPrimitives.ReadInt32LittleEndian(bytes.AsSpan(8));
            if (version != 1)
                throw new UserException($"{path}: version {version} of llm.c's token files is not supported; version 1 holds 16-bit ids");
            start = HeaderBytes;
            count = (bytes.Length - start) / 2;
            if (stated != count)
                throw new UserException($"{path}: the header states {stated} tokens, but {count} follow; the file was cut short, make it again");
        }

        if ((bytes.Length - start) % 2 != 0)
            throw new UserException($"{path}: {bytes.Length} bytes are not a whole number of 16-bit tokens");
        if (count == 0)
            throw new UserException($"{path}: the file has no tokens");
        return MemoryMarshal.Cast<byte, ushort>(bytes.AsSpan(start)).ToArray();
    }

    /// <summary>Writes a file, with llm.c's header or plain.</summary>
    public static void Write(string path, ReadOnlySpan<ushort> tokens, bool header = false)
    {
        using FileStream stream = File.Create(path);
        if (header)
        {
            Span<int> words = stackalloc int[HeaderBytes / 4];
            words.Clear();
            (words[0], words[1], words[2]) = (Magic, 1, tokens.Length);
            stream.Write(MemoryMarshal.AsBytes(words));
        }

        stream.Write(MemoryMarshal.AsBytes(tokens));
        stream.Flush(flushToDisk: true);
    }
}
