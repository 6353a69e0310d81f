using System.Buffers.Text;
using System.Globalization;
using System.Text;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>Reads tiktoken's vocabularies: per line a token in Base64, a space, and its rank, which is its id.</summary>
internal static class TiktokenFile
{
    /// <summary>The maximum length of a token in bytes; known files have at most 128. Reading time is quadratic in the length.</summary>
    private const int MaxLength = 256;

    /// <summary>True if a file begins like such a vocabulary.</summary>
    public static bool Recognises(ReadOnlySpan<byte> contents)
    {
        int end = contents.IndexOf((byte)'\n');
        return TryLine(end < 0 ? contents : contents[..end], out _, out _);
    }

    /// <summary>Reads the tokens and their ranks, in the order of the file.</summary>
    /// <param name="contents">The file.</param>
    /// <param name="source">The file's path, for messages.</param>
    /// <exception cref="UserException">A line is damaged, a token is too long, a token or a rank appears twice, or a byte has no token.</exception>
    public static List<(byte[] Token, int Rank)> Read(ReadOnlySpan<byte> contents, string source)
    {
        var tokens = new List<(byte[], int)>();
        var seen = new HashSet<int>();
        var texts = new HashSet<string>();
        int line = 0, bytes = 0;
        foreach (Range range in contents.Split((byte)'\n'))
        {
            line++;
            ReadOnlySpan<byte> text = contents[range];
            if (text.TrimEnd((byte)'\r').IsEmpty)
                continue;
            if (!TryLine(text, out byte[] token, out int rank))
                throw new UserException($"{source}: line {line} is not a token in Base64 and its rank; download the file again");
            if (token.Length > MaxLength)
                throw new UserException($"{source}: the token of line {line} has {token.Length:N0} bytes; at most {MaxLength} are supported, download the file again");
            Vocabulary.CheckId(rank, $"line {line}", source);
            if (!seen.Add(rank) || !texts.Add(Encoding.Latin1.GetString(token)))
                throw new UserException($"{source}: line {line} repeats a token or a rank; download the file again");
            bytes += token.Length == 1 ? 1 : 0;
            tokens.Add((token, rank));
        }

        return bytes == 256 ? tokens : throw new UserException($"{source}: {bytes} of 256 bytes have tokens, so not every text could be encoded; download the file again");
    }

    private static bool TryLine(ReadOnlySpan<byte> line, out byte[] token, out int rank)
    {
        (token, rank) = ([], 0);
        line = line.TrimEnd((byte)'\r');
        int space = line.IndexOf((byte)' ');
        // A token has at least one byte, which is four characters of Base64.
        if (space < 4 || space > 10_000 || line.Length - space - 1 is < 1 or > 9 || !int.TryParse(line[(space + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out rank))
            return false;
        byte[] bytes = new byte[Base64.GetMaxDecodedFromUtf8Length(space)];
        if (Base64.DecodeFromUtf8(line[..space], bytes, out int consumed, out int written) != System.Buffers.OperationStatus.Done || consumed != space || written == 0)
            return false;
        token = bytes[..written];
        return true;
    }
}
