using System.Text;

namespace ILGpuOptim.TokenizerOracle;

/// <summary>Texts that hold every code point in context, 256 of them a text.</summary>
public static class UnicodeBlocks
{
    /// <summary>
    /// All of the planes 0 and 1. Of the planes 2 and 3, which hold ideographs alone, the ends of their blocks and the compatibility
    /// ideographs; tags and variation selectors; the ends of the private planes.
    /// </summary>
    private static readonly (int First, int Last)[] Ranges =
    [
        (0x0000, 0xD7FF), (0xE000, 0x1FFFF), (0x20000, 0x200FF), (0x2A600, 0x2A7FF), (0x2B700, 0x2B8FF), (0x2CE00, 0x2CEFF), (0x2EB00, 0x2EEFF),
        (0x2F800, 0x2FAFF), (0x2FF00, 0x300FF), (0x31300, 0x313FF), (0x32300, 0x324FF), (0x33400, 0x334FF), (0xE0000, 0xE01FF), (0xF0000, 0xF00FF), (0x10FF00, 0x10FFFF),
    ];

    /// <summary>The first code point of each text, and the text.</summary>
    public static IEnumerable<(int First, string Text)> Texts()
    {
        foreach ((int first, int last) in Ranges)
        {
            for (int block = first; block <= last; block += 256)
            {
                var text = new StringBuilder(256 * 10);
                for (int code = block; code < block + 256; code++)
                    text.Append(Context(code));
                yield return (block, text.ToString());
            }
        }
    }

    /// <summary>A code point between letters, doubled, and before a space.</summary>
    public static string Context(int code)
    {
        string character = new Rune(code).ToString();
        return $"a{character}b {character}{character} ";
    }
}
