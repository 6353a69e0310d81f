using System.Globalization;
using System.Text;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>A part of a text: an added token, or what lies between two.</summary>
/// <param name="Start">Where it begins.</param>
/// <param name="End">Where it ends.</param>
/// <param name="Id">The id of the token; null for text.</param>
internal readonly record struct CutPart(int Start, int End, int? Id);

/// <summary>Cuts added tokens out of a text in linear time.</summary>
/// <param name="tokens">The tokens.</param>
/// <param name="contents">What is sought for each of them.</param>
internal sealed class TokenCutter(IReadOnlyList<AddedToken> tokens, IReadOnlyList<string> contents)
{
    private readonly TokenMatcher matcher = new(contents);

    /// <summary>The parts of a text in their order; text parts are never empty.</summary>
    public List<CutPart> Cut(string text)
    {
        var parts = new List<CutPart>();
        int done = 0;
        (int Start, int End) space = (0, 0);
        foreach ((int match, int index) in matcher.Find(text))
        {
            AddedToken token = tokens[index];
            (int start, int end) = (match, match + contents[index].Length);
            if (token.SingleWord && (EndsWithWord(text.AsSpan(0, start)) || StartsWithWord(text.AsSpan(end))))
                continue;
            if (token.LeftStrip)
            {
                int before = start;
                while (before > done && char.IsWhiteSpace(text[before - 1]))
                    before--;
                start = Math.Max(before, done);
            }

            if (token.RightStrip)
            {
                // White space that was passed once is not passed again, so that a token of white space takes linear time too.
                if (end < space.Start || end > space.End)
                    space = (end, end);
                while (space.End < text.Length && char.IsWhiteSpace(text[space.End]))
                    space.End++;
                end = space.End;
            }

            if (done < start)
                parts.Add(new CutPart(done, start, null));
            parts.Add(new CutPart(start, end, token.Id));
            done = end;
        }

        if (done < text.Length)
            parts.Add(new CutPart(done, text.Length, null));
        return parts;
    }

    private static bool EndsWithWord(ReadOnlySpan<char> text) => Rune.DecodeLastFromUtf16(text, out Rune character, out _) == System.Buffers.OperationStatus.Done && IsWord(character);

    private static bool StartsWithWord(ReadOnlySpan<char> text) => Rune.DecodeFromUtf16(text, out Rune character, out _) == System.Buffers.OperationStatus.Done && IsWord(character);

    /// <summary>Word characters by Unicode Technical Standard 18: alphabetic ones, marks, decimal digits, connectors and joiners.</summary>
    private static bool IsWord(Rune character) => Rune.GetUnicodeCategory(character) switch
    {
        UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter
            or UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark
            or UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.ConnectorPunctuation => true,

        // Letters in circles and squares are alphabetic symbols (Other_Alphabetic).
        UnicodeCategory.OtherSymbol => character.Value is (>= 0x24B6 and <= 0x24E9) or (>= 0x1F130 and <= 0x1F149) or (>= 0x1F150 and <= 0x1F169) or (>= 0x1F170 and <= 0x1F189),
        UnicodeCategory.Format => character.Value is 0x200C or 0x200D,
        _ => false,
    };
}
