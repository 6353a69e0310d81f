using System.Text;

namespace ILGpuOptim.TokenizerOracle;

/// <summary>Random texts of what tokenizers treat differently: words, numbers, white space, marks, scripts, emoji, added tokens and arbitrary characters.</summary>
public static class RandomTexts
{
    private static readonly string[] Atoms =
    [
        "a", "b", "X", "the", "king", "Hello", "lord", "ing", "e", "s", "HTTP", "iPhone", "0", "7", "42", "1984", "3.14", " ", " ", " ", "  ", "    ", "\n", "\r\n", "\n\n", "\t", "\u00a0", "\u3000", "\u2028", "\u0085",
        "'s", "'LL", "'t", "\u2019", ".", ",", "!", "?", "-", "_", "(", ")", "<", ">", "|", "\"", "#", "$", "\\", "/", "```", "\u2581", "\u0120", "\u00e9", "e\u0301", "\u0301", "\u0323", "\u0308", "\u00c4", "\u00df", "\u0130", "\u03a3", "\u03c2",
        "\ufb01", "\u00bd", "\u1100\u1161", "\u11a8", "\uac00", "\u4e2d", "\u6587\u5b57", "\u65e5\u672c", "\u30ab\u3099", "\u3042", "\u0645\u0631", "\u0650", "\u05e9\u05c1", "\u0928\u093f", "\u094d", "\u0e19\u0e49\u0e33", "\u0439", "\u0438\u0306",
        "\U0001F600", "\U0001F468\u200d\U0001F469", "\U0001F1E9\U0001F1EA", "\ufe0f", "\u200d", "\u200b", "\u202e", "\u00ad", "\ufeff", "\0", "\u001b", "\u007f", "\ufffd", "\U0001D400", "\U0001D7CE", "\U0001E900", "\U00020000", "\U0002F800", "\U000E0041",
    ];

    /// <summary>The next text; some of it is taken from the given parts.</summary>
    public static string Next(Random random, IReadOnlyList<string> parts)
    {
        var text = new StringBuilder();
        for (int count = random.Next(1, 30); count > 0; count--)
        {
            int kind = random.Next(20);
            if (kind < 3 && parts.Count > 0)
                text.Append(parts[random.Next(parts.Count)]);
            else if (kind == 3)
                text.Append(Character(random, 0xFFFF));
            else if (kind == 4)
                text.Append(Character(random, 0x10FFFF));
            else
                text.Append(Atoms[random.Next(Atoms.Length)]);
        }

        return text.ToString();
    }

    private static string Character(Random random, int last)
    {
        int code = random.Next(last + 1);
        return new Rune(code is >= 0xD800 and <= 0xDFFF ? code - 0x800 : code).ToString();
    }
}
