using System.Text;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>The pieces to which <see cref="Metaspace"/> prepends its replacement, unless they begin with it.</summary>
internal enum PrependScheme
{
    /// <summary>Every piece.</summary>
    Always,

    /// <summary>The piece at the start of the text.</summary>
    First,

    /// <summary>No piece.</summary>
    Never,
}

/// <summary>Replaces spaces by a visible character, and splits before it, as SentencePiece does.</summary>
internal sealed class Metaspace(int replacement, PrependScheme scheme, bool split) : IPreTokenizer
{
    private readonly string symbol = new Rune(replacement).ToString();

    /// <summary>Reads the fields that the pre-tokenizer and the decoder share. Older files have <c>add_prefix_space</c> instead of <c>prepend_scheme</c>.</summary>
    /// <exception cref="UserException">A field is missing or contradicts another.</exception>
    public static (int Replacement, PrependScheme Scheme, bool Split) Settings(JsonFields fields)
    {
        fields.Ignore("str_rep");
        string? scheme = fields.Text("prepend_scheme");
        PrependScheme known = scheme switch
        {
            null or "always" => PrependScheme.Always,
            "first" => PrependScheme.First,
            "never" => PrependScheme.Never,
            _ => throw fields.Error("prepend_scheme", $"is \"{scheme}\"; always, first and never are supported"),
        };
        if (fields.Flag("add_prefix_space") == false)
        {
            if (scheme is not (null or "never"))
                throw fields.Error("add_prefix_space", $"is false, but prepend_scheme is \"{scheme}\"");
            known = PrependScheme.Never;
        }

        return (PreTokenizers.Character(fields, "replacement"), known, fields.Flag("split") ?? true);
    }

    /// <summary>Reads the pre-tokenizer.</summary>
    public static Metaspace Read(JsonFields fields)
    {
        (int replacement, PrependScheme scheme, bool split) = Settings(fields);
        return new(replacement, scheme, split);
    }

    /// <inheritdoc/>
    public void Split(TextPiece piece, List<TextPiece> parts)
    {
        string text = piece.Text.ToString().Replace(" ", symbol, StringComparison.Ordinal);
        if ((scheme == PrependScheme.Always || (scheme == PrependScheme.First && piece.AtStart)) && !text.StartsWith(symbol, StringComparison.Ordinal))
            text = symbol + text;
        piece = piece with { Text = text.AsMemory() };
        if (split)
            Splitter.Add(piece, Splitter.Segments(text, point => point == replacement), SplitBehavior.MergedWithNext, parts);
        else
            Splitter.Slice(piece, 0, text.Length, parts);
    }
}
