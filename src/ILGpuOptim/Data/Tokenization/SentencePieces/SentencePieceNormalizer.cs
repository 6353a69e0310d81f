using System.Text;

namespace ILGpuOptim.Data.Tokenization.SentencePieces;

/// <summary>SentencePiece's normalization: character replacements, then white space. User-defined symbols are unchanged.</summary>
/// <param name="settings">The settings.</param>
/// <param name="symbols">The user-defined symbols.</param>
/// <param name="whitespaceIsSuffix">Appends the dummy space instead of prepending it.</param>
internal sealed class SentencePieceNormalizer(NormalizerSettings settings, Trie symbols, bool whitespaceIsSuffix)
{
    /// <summary>The normalized text; empty if the text consists of removable spaces.</summary>
    public string Normalize(ReadOnlySpan<char> text)
    {
        if (settings.RemoveExtraWhitespaces)
        {
            while (!text.IsEmpty && Prefix(text, out int used) is " ")
                text = text[used..];
        }

        if (text.IsEmpty)
            return "";
        char space = settings.EscapeWhitespaces ? SentencePieceModel.Space : ' ';
        var result = new StringBuilder(text.Length + 1);
        if (settings.AddDummyPrefix && !whitespaceIsSuffix)
            result.Append(space);
        bool afterSpace = settings.RemoveExtraWhitespaces;
        while (!text.IsEmpty)
        {
            ReadOnlySpan<char> part = Prefix(text, out int used);
            text = text[used..];
            if (afterSpace)
                part = part.TrimStart(' ');
            if (!part.IsEmpty)
            {
                foreach (char c in part)
                    result.Append(c == ' ' ? space : c);
                afterSpace = settings.RemoveExtraWhitespaces && part[^1] == ' ';
            }
        }

        if (settings.RemoveExtraWhitespaces)
        {
            int length = result.Length;
            while (length > 0 && result[length - 1] == space)
                length--;
            result.Length = length;
        }

        if (settings.AddDummyPrefix && whitespaceIsSuffix)
            result.Append(space);
        return result.ToString();
    }

    /// <summary>The replacement of the first symbol, map key or character of a text, and the length of the original.</summary>
    private ReadOnlySpan<char> Prefix(ReadOnlySpan<char> text, out int used)
    {
        used = symbols.Longest(text).Length;
        if (used > 0)
            return text[..used];
        if (settings.Characters is { } map && (used = map.Longest(text, out string? replacement)) > 0)
            return replacement;
        used = char.IsHighSurrogate(text[0]) && text.Length > 1 ? 2 : 1;
        return text[..used];
    }
}
