using System.Text;
using System.Text.Json;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>Reads the <c>pre_tokenizer</c> of a <c>tokenizer.json</c>. Missing fields have the defaults of Hugging Face's library.</summary>
internal static class PreTokenizers
{
    /// <summary>GPT-2's word-splitting pattern, in Oniguruma's syntax.</summary>
    public const string Gpt2 = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    /// <summary>Splits a text into matches and the text between them.</summary>
    private delegate List<MatchSegment> Finder(ReadOnlySpan<char> text);

    /// <summary>Reads a pre-tokenizer; null if it splits nothing.</summary>
    /// <exception cref="UserException">Its type or one of its fields is not supported.</exception>
    public static IPreTokenizer? Read(JsonFields? fields)
    {
        if (fields is null)
            return null;
        string type = fields.RequiredText("type");
        IPreTokenizer? result = type switch
        {
            "Sequence" => Sequence(fields),
            "ByteLevel" => Bytes(fields),
            "Split" => Split(fields),
            "Metaspace" => Metaspace.Read(fields),
            "Whitespace" => new Whole(Words),
            "WhitespaceSplit" => new Splitting(static text => Splitter.Segments(text, UnicodeData.IsWhiteSpace), SplitBehavior.Removed),
            "Digits" => new Splitting(
                static text => Splitter.Segments(text, TextRules.IsNumeric), Required(fields, "individual_digits") ? SplitBehavior.Isolated : SplitBehavior.Contiguous),
            "Punctuation" => new Splitting(static text => Splitter.Segments(text, TextRules.IsPunctuation), Splitter.Read(fields, SplitBehavior.Isolated)),
            "BertPreTokenizer" => new Chain([
                new Splitting(static text => Splitter.Segments(text, UnicodeData.IsWhiteSpace), SplitBehavior.Removed),
                new Splitting(static text => Splitter.Segments(text, TextRules.IsPunctuation), SplitBehavior.Isolated)]),
            "UnicodeScripts" => new Whole(ByScript),
            "CharDelimiterSplit" => Delimiter(fields),
            "FixedLength" => FixedLength(fields),
            _ => throw fields.Error("type", $"is \"{type}\"; this pre-tokenizer is not supported"),
        };
        fields.Finish();
        return result;
    }

    /// <summary>GPT-2's byte-level pre-tokenizer.</summary>
    /// <param name="addPrefixSpace">Prepends a space to a piece that does not begin with one.</param>
    /// <param name="useRegex">Splits text into GPT-2's words first.</param>
    public static IPreTokenizer ByteLevel(bool addPrefixSpace, bool useRegex) => new ByteLevelStep(addPrefixSpace, useRegex);

    /// <summary>Splits text at the matches of a regular expression in Oniguruma's syntax; each match is a part.</summary>
    public static IPreTokenizer Isolated(string pattern)
    {
        CodePointRegex regex = CodePointRegex.Of(pattern);
        return new Splitting(
            text =>
            {
                var matches = new List<(int Start, int End)>();
                regex.Find(text, matches);
                return Splitter.Segments(text, matches);
            },
            SplitBehavior.Isolated);
    }

    /// <summary>
    /// The patterns by which a byte-level <c>pre_tokenizer</c> splits text into words, one after another; null if it does anything else, such as adding a
    /// space.
    /// </summary>
    public static IReadOnlyList<string>? WordPatterns(JsonElement? preTokenizer)
    {
        if (preTokenizer is not { ValueKind: JsonValueKind.Object } step)
            return null;
        JsonElement[] steps = Text(step, "type") == "Sequence" && step.TryGetProperty("pretokenizers", out JsonElement inner) ? [.. inner.EnumerateArray()] : [step];
        if (steps is not [.. var before, var last] || Text(last, "type") != "ByteLevel" || Flag(last, "add_prefix_space") != false)
            return null;
        var patterns = new List<string>();
        foreach (JsonElement cut in before)
        {
            if (Text(cut, "type") == "Digits" && Flag(cut, "individual_digits") == true)
                patterns.Add(@"\p{N}");
            else if (Text(cut, "type") == "Split" && Text(cut, "behavior") == "Isolated" && Flag(cut, "invert") == false && cut.TryGetProperty("pattern", out JsonElement pattern) && Text(pattern, "Regex") is { } regex)
                patterns.Add(regex);
            else
                return null;
        }

        if (Flag(last, "use_regex") ?? true)
            patterns.Add(Gpt2);
        return patterns;

        static string? Text(JsonElement item, string name) =>
            item.ValueKind == JsonValueKind.Object && item.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
        static bool? Flag(JsonElement item, string name) =>
            item.TryGetProperty(name, out JsonElement value) && value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean() : null;
    }

    /// <summary>Applies pre-tokenizers in sequence.</summary>
    public static IPreTokenizer InOrder(IReadOnlyList<IPreTokenizer> steps) => new Chain(steps);

    private static IPreTokenizer? Sequence(JsonFields fields)
    {
        IReadOnlyList<JsonFields> steps = fields.Objects("pretokenizers") ?? throw fields.Error("pretokenizers", "is missing");
        IPreTokenizer[] chain = [.. steps.Select(Read).OfType<IPreTokenizer>()];
        return chain.Length == 0 ? null : chain.Length == 1 ? chain[0] : new Chain(chain);
    }

    private static ByteLevelStep Bytes(JsonFields fields)
    {
        fields.Ignore("trim_offsets");
        return new(Required(fields, "add_prefix_space"), fields.Flag("use_regex") ?? true);
    }

    private static Splitting Split(JsonFields fields)
    {
        TextPattern pattern = TextPattern.Read(fields);
        SplitBehavior behavior = Splitter.Read(fields, missing: null);
        bool invert = Required(fields, "invert");
        return new(
            text =>
            {
                var matches = new List<(int Start, int End)>();
                pattern.Find(text, matches);
                List<MatchSegment> segments = Splitter.Segments(text, matches);
                return invert ? [.. segments.Select(cut => cut with { IsMatch = !cut.IsMatch })] : segments;
            },
            behavior);
    }

    private static Splitting Delimiter(JsonFields fields)
    {
        int delimiter = Character(fields, "delimiter");
        return new(text => Splitter.Segments(text, point => point == delimiter), SplitBehavior.Removed);
    }

    private static Whole FixedLength(JsonFields fields)
    {
        int length = fields.Int("length") ?? 5;
        if (length < 1)
            throw fields.Error("length", $"is {length}; it must be at least 1");
        return new((piece, parts) =>
        {
            ReadOnlySpan<char> text = piece.Text.Span;
            int start = 0, position = 0, count = 0;
            foreach (Rune rune in text.EnumerateRunes())
            {
                position += rune.Utf16SequenceLength;
                if (++count % length == 0)
                    Splitter.Slice(piece, start, start = position, parts);
            }

            Splitter.Slice(piece, start, position, parts);
        });
    }

    /// <summary>Reads a string field of one character.</summary>
    internal static int Character(JsonFields fields, string name)
    {
        string text = fields.RequiredText(name);
        return Rune.DecodeFromUtf16(text, out Rune rune, out int length) == System.Buffers.OperationStatus.Done && length == text.Length
            ? rune.Value : throw fields.Error(name, $"is \"{text}\"; it must be one character");
    }

    private static bool Required(JsonFields fields, string name) => fields.Flag(name) ?? throw fields.Error(name, "is missing; it must be true or false");

    /// <summary>Splits a piece into runs of word characters and runs of other characters; white space is dropped.</summary>
    private static void Words(TextPiece piece, List<TextPiece> parts) => Runs(piece, parts, static point =>
        TextRules.IsWord(point) ? 1 : UnicodeData.IsWhiteSpace(point) ? 0 : 2);

    /// <summary>Splits a piece into runs of one kind of characters; kind 0 is dropped.</summary>
    private static void Runs(TextPiece piece, List<TextPiece> parts, Func<int, int> kindOf)
    {
        int start = 0, position = 0, kind = 0;
        foreach (Rune rune in piece.Text.Span.EnumerateRunes())
        {
            int next = kindOf(rune.Value);
            if (next != kind)
            {
                if (kind != 0)
                    Splitter.Slice(piece, start, position, parts);
                (start, kind) = (position, next);
            }

            position += rune.Utf16SequenceLength;
        }

        if (kind != 0)
            Splitter.Slice(piece, start, position, parts);
    }

    /// <summary>
    /// Splits a piece where the script changes. Spaces and characters without a script belong to the part before them; at the start of the text
    /// they are dropped, as in the library.
    /// </summary>
    private static void ByScript(TextPiece piece, List<TextPiece> parts)
    {
        string? last = null;
        bool any = false;
        int start = 0, position = 0;
        foreach (Rune rune in piece.Text.Span.EnumerateRunes())
        {
            string? script = TextRules.ScriptOf(rune.Value);
            if (script is not null && script != last)
            {
                if (any)
                    Splitter.Slice(piece, start, position, parts);
                (start, last, any) = (position, script, true);
            }

            position += rune.Utf16SequenceLength;
        }

        if (any)
            Splitter.Slice(piece, start, position, parts);
    }

    private sealed class Whole(Action<TextPiece, List<TextPiece>> split) : IPreTokenizer
    {
        public void Split(TextPiece piece, List<TextPiece> parts) => split(piece, parts);
    }

    private sealed class Splitting(Finder find, SplitBehavior behavior) : IPreTokenizer
    {
        public void Split(TextPiece piece, List<TextPiece> parts) => Splitter.Add(piece, find(piece.Text.Span), behavior, parts);
    }

    private sealed class Chain(IReadOnlyList<IPreTokenizer> steps) : IPreTokenizer
    {
        public void Split(TextPiece piece, List<TextPiece> parts)
        {
            List<TextPiece> current = [piece];
            foreach (IPreTokenizer step in steps)
            {
                var next = new List<TextPiece>(current.Count);
                foreach (TextPiece part in current)
                    step.Split(part, next);
                current = next;
            }

            parts.AddRange(current);
        }
    }

    private sealed class ByteLevelStep(bool addPrefixSpace, bool useRegex) : IPreTokenizer
    {
        private static readonly IPreTokenizer Words = Isolated(Gpt2);

        public void Split(TextPiece piece, List<TextPiece> parts)
        {
            if (addPrefixSpace && !piece.Text.Span.StartsWith(' '))
                piece = piece with { Text = (" " + piece.Text).AsMemory() };
            int from = parts.Count;
            if (useRegex)
                Words.Split(piece, parts);
            else
                Splitter.Slice(piece, 0, piece.Text.Length, parts);
            for (int i = from; i < parts.Count; i++)
                parts[i] = parts[i] with { Text = ByteLetters.Encode(parts[i].Text.Span).AsMemory() };
        }
    }
}
