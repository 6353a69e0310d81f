using System.Buffers;
using System.Text;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// GPT-2's letter for each byte: printable characters of Latin-1 stand for themselves, the other bytes for U+0100 and what follows, so that
/// every sequence of bytes is a text without spaces and control characters.
/// </summary>
internal static class ByteLetters
{
    private static readonly char[] Letters = Make();
    private static readonly short[] Bytes = Invert();

    /// <summary>The letters in the order of their bytes.</summary>
    public static ReadOnlySpan<char> All => Letters;

    /// <summary>The byte of a letter; −1 when the character is none of the letters.</summary>
    public static int ByteOf(char letter) => letter < Bytes.Length ? Bytes[letter] : -1;

    /// <summary>The letters of a text's bytes in UTF-8.</summary>
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
