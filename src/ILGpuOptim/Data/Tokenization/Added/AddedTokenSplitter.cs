using System.Buffers;
using System.Text;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>A segment of a text: an added token, or text between added tokens.</summary>
/// <param name="Start">The start.</param>
/// <param name="End">The end.</param>
/// <param name="Id">The id of the added token; null for other text.</param>
internal readonly record struct AddedTokenSegment(int Start, int End, int? Id);

/// <summary>Splits a text at added tokens in linear time.</summary>
/// <param name="tokens">The tokens.</param>
/// <param name="contents">The text to match for each token.</param>
internal sealed class AddedTokenSplitter(IReadOnlyList<AddedToken> tokens, IReadOnlyList<string> contents)
{
    private readonly TokenMatcher matcher = new(contents);

    /// <summary>The segments of a text, in order. Segments without a token are never empty.</summary>
    public List<AddedTokenSegment> Split(string text)
    {
        var parts = new List<AddedTokenSegment>();
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
                while (before > done && UnicodeData.IsWhiteSpace(text[before - 1]))
                    before--;
                start = Math.Max(before, done);
            }

            if (token.RightStrip)
            {
                // White space is scanned only once, so tokens of white space take linear time too.
                if (end < space.Start || end > space.End)
                    space = (end, end);
                while (space.End < text.Length && UnicodeData.IsWhiteSpace(text[space.End]))
                    space.End++;
                end = space.End;
            }

            // White space that the token before it has taken leaves nothing of this one.
            if (start >= end)
                continue;
            if (done < start)
                parts.Add(new AddedTokenSegment(done, start, null));
            parts.Add(new AddedTokenSegment(start, end, token.Id));
            done = end;
        }

        if (done < text.Length)
            parts.Add(new AddedTokenSegment(done, text.Length, null));
        return parts;
    }

    private static bool EndsWithWord(ReadOnlySpan<char> text) => Rune.DecodeLastFromUtf16(text, out Rune character, out _) == OperationStatus.Done && TextRules.IsWord(character.Value);

    private static bool StartsWithWord(ReadOnlySpan<char> text) => Rune.DecodeFromUtf16(text, out Rune character, out _) == OperationStatus.Done && TextRules.IsWord(character.Value);
}
