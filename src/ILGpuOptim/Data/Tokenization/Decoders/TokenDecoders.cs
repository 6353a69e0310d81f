using System.Text;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>Applies decoders in sequence.</summary>
internal sealed class SequenceDecoder(IReadOnlyList<ITokenDecoder> steps) : ITokenDecoder
{
    /// <inheritdoc/>
    public List<string> Decode(List<string> tokens) => steps.Aggregate(tokens, (current, step) => step.Decode(current));
}

/// <summary>Applies a function to each token.</summary>
internal sealed class EachTokenDecoder(Func<string, string> change) : ITokenDecoder
{
    /// <inheritdoc/>
    public List<string> Decode(List<string> tokens) => tokens.ConvertAll(token => change(token));
}

/// <summary>Joins all tokens into one.</summary>
internal sealed class FuseDecoder : ITokenDecoder
{
    /// <inheritdoc/>
    public List<string> Decode(List<string> tokens) => [string.Concat(tokens)];
}

/// <summary>Converts GPT-2's byte letters to bytes and decodes them as UTF-8. A token with other characters is text already.</summary>
internal sealed class ByteLevelDecoder : ITokenDecoder
{
    /// <inheritdoc/>
    public List<string> Decode(List<string> tokens)
    {
        var bytes = new List<byte>();
        foreach (string token in tokens)
        {
            int begin = bytes.Count;
            foreach (char letter in token)
            {
                if (ByteLetters.ByteOf(letter) is >= 0 and var value)
                {
                    bytes.Add((byte)value);
                    continue;
                }

                bytes.RemoveRange(begin, bytes.Count - begin);
                bytes.AddRange(Encoding.UTF8.GetBytes(token));
                break;
            }
        }

        return [Encoding.UTF8.GetString([.. bytes])];
    }
}

/// <summary>Decodes runs of the tokens <c>&lt;0x00&gt;</c> … <c>&lt;0xFF&gt;</c> as UTF-8; a run that is not valid UTF-8 becomes one U+FFFD for each byte.</summary>
internal sealed class ByteFallbackDecoder : ITokenDecoder
{
    private static readonly UTF8Encoding Strict = new(false, throwOnInvalidBytes: true);

    /// <inheritdoc/>
    public List<string> Decode(List<string> tokens)
    {
        var result = new List<string>(tokens.Count);
        var run = new List<byte>();
        foreach (string token in tokens)
        {
            if (ByteTokens.ValueOf(token) is { } value)
            {
                run.Add(value);
                continue;
            }

            EndRun();
            result.Add(token);
        }

        EndRun();
        return result;

        void EndRun()
        {
            if (run.Count == 0)
                return;
            try
            {
                result.Add(Strict.GetString([.. run]));
            }
            catch (DecoderFallbackException)
            {
                result.AddRange(Enumerable.Repeat("\uFFFD", run.Count));
            }

            run.Clear();
        }
    }
}

/// <summary>Inserts a space before each token that begins a word, except the first token.</summary>
/// <param name="prefix">The prefix of tokens that continue a word.</param>
/// <param name="cleanup">Removes spaces before English punctuation and contractions.</param>
internal sealed class WordPieceDecoder(string prefix, bool cleanup) : ITokenDecoder
{
    /// <inheritdoc/>
    public List<string> Decode(List<string> tokens)
    {
        var result = new List<string>(tokens.Count);
        foreach (string token in tokens)
        {
            string text = result.Count == 0 ? token : token.StartsWith(prefix, StringComparison.Ordinal) ? token[prefix.Length..] : " " + token;
            result.Add(cleanup ? CleanUp(text) : text);
        }

        return result;
    }

    /// <summary>Removes spaces before English punctuation and contractions.</summary>
    public static string CleanUp(string text) => text
        .Replace(" .", ".", StringComparison.Ordinal).Replace(" ?", "?", StringComparison.Ordinal).Replace(" !", "!", StringComparison.Ordinal)
        .Replace(" ,", ",", StringComparison.Ordinal).Replace(" ' ", "'", StringComparison.Ordinal).Replace(" n't", "n't", StringComparison.Ordinal)
        .Replace(" 'm", "'m", StringComparison.Ordinal).Replace(" do not", " don't", StringComparison.Ordinal).Replace(" 's", "'s", StringComparison.Ordinal)
        .Replace(" 've", "'ve", StringComparison.Ordinal).Replace(" 're", "'re", StringComparison.Ordinal);
}

/// <summary>Replaces the character that represents a space by a space.</summary>
/// <param name="replacement">The character.</param>
/// <param name="keepsFirst">Keeps the spaces of the first token; otherwise they are dropped.</param>
internal sealed class MetaspaceDecoder(Rune replacement, bool keepsFirst) : ITokenDecoder
{
    private readonly string replacement = replacement.ToString();

    /// <inheritdoc/>
    public List<string> Decode(List<string> tokens) =>
        [.. tokens.Select((token, i) => token.Replace(replacement, i == 0 && !keepsFirst ? "" : " ", StringComparison.Ordinal))];
}

/// <summary>Replaces the end-of-word suffix by a space, and removes it from the last token.</summary>
internal sealed class WordSuffixDecoder(string suffix) : ITokenDecoder
{
    /// <inheritdoc/>
    public List<string> Decode(List<string> tokens) => suffix.Length == 0 ? tokens
        : [.. tokens.Select((token, i) => token.Replace(suffix, i == tokens.Count - 1 ? "" : " ", StringComparison.Ordinal))];
}

/// <summary>Connectionist temporal classification (Graves et al., ICML 2006): removes repeated tokens and padding.</summary>
internal sealed class CtcDecoder(string padding, string wordEnd, bool cleanup) : ITokenDecoder
{
    /// <inheritdoc/>
    public List<string> Decode(List<string> tokens)
    {
        var result = new List<string>(tokens.Count);
        for (int i = 0; i < tokens.Count; i++)
        {
            if (i > 0 && tokens[i] == tokens[i - 1])
                continue;
            string text = Replaced(tokens[i], padding, "");
            if (cleanup)
                text = Replaced(WordPieceDecoder.CleanUp(text), wordEnd, " ");
            if (text.Length > 0)
                result.Add(text);
        }

        return result;
    }

    private static string Replaced(string text, string part, string by) => part.Length == 0 ? text : text.Replace(part, by, StringComparison.Ordinal);
}
