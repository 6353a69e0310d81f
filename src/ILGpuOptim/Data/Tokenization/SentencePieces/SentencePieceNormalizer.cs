using System.Text;

namespace ILGpuOptim.Data.Tokenization.SentencePieces;

/// <summary>SentencePiece's normalization: replacements of characters, then white space. User-defined symbols stay as they are.</summary>
/// <param name="settings">What is done.</param>
/// <param name="symbols">User-defined symbols.</param>
/// <param name="whitespaceIsSuffix">Whether the dummy space is put behind the text.</param>
internal sealed class SentencePieceNormalizer(NormalizerSettings settings, Trie symbols, bool whitespaceIsSuffix)
{
    /// <summary>The normalized text. A text that holds nothing but removable spaces gives nothing.</summary>
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

    /// <summary>What the first symbol, key of the map or character of a text becomes, and its length.</summary>
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
