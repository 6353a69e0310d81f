using System.Buffers;
using System.Text;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// GPT-2's mapping of bytes to letters: printable Latin-1 characters map to themselves, the other bytes to U+0100 and following, so that
/// every byte sequence is a text without spaces and control characters.
/// </summary>
internal static class ByteLetters
{
    private static readonly char[] Letters = Make();
    private static readonly short[] Bytes = Invert();

    /// <summary>The letters, in the order of bytes.</summary>
    public static ReadOnlySpan<char> All => Letters;

    /// <summary>The byte of a letter; −1 for other characters.</summary>
    public static int ByteOf(char letter) => letter < Bytes.Length ? Bytes[letter] : -1;

    /// <summary>The letters of a text's UTF-8 bytes.</summary>
    public static string Encode(ReadOnlySpan<char> text)
    {
        int count = Encoding.UTF8.GetByteCount(text);
        byte[] bytes = ArrayPool<byte>.Shared.Rent(count);
        Encoding.UTF8.GetBytes(text, bytes);
        string result = string.Create(count, bytes, static (letters, bytes) =>
        {
            for (int i = 0; i < letters.Length; i++)
                letters[i] = Letters[bytes[i]];
        });
        ArrayPool<byte>.Shared.Return(bytes);
        return result;
    }

    private static char[] Make()
    {
        var result = new char[256];
        int next = 256;
        for (int value = 0; value < 256; value++)
            result[value] = (char)(value is >= '!' and <= '~' or >= 0xA1 and <= 0xAC or >= 0xAE and <= 0xFF ? value : next++);
        return result;
    }

    private static short[] Invert()
    {
        var result = new short[Letters.Max() + 1];
        Array.Fill(result, (short)-1);
        for (int value = 0; value < 256; value++)
            result[Letters[value]] = (short)value;
        return result;
    }
}
