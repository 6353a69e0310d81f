using System.Text;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>Reads the <c>normalizer</c> of a <c>tokenizer.json</c>. Missing fields have the defaults of Hugging Face's library.</summary>
internal static class Normalizers
{
    /// <summary>Applies a function to the text.</summary>
    private sealed class Mapped(Func<string, string> map) : INormalizer
    {
        public string Normalize(string text) => map(text);
    }

    private sealed class Chain(IReadOnlyList<INormalizer> steps) : INormalizer
    {
        public string Normalize(string text) => steps.Aggregate(text, static (current, step) => step.Normalize(current));
    }

    /// <summary>Reads a normalizer; null if it changes nothing.</summary>
    /// <exception cref="UserException">Its type or one of its fields is not supported.</exception>
    public static INormalizer? Read(JsonFields? fields)
    {
        if (fields is null)
            return null;
        string type = fields.RequiredText("type");
        INormalizer? result = type switch
        {
            "Sequence" => Sequence(fields),
            "Precompiled" => Precompiled(fields),
            "NFC" => new Mapped(UnicodeNormalization.Nfc.Normalize),
            "NFD" => new Mapped(UnicodeNormalization.Nfd.Normalize),
            "NFKC" => new Mapped(UnicodeNormalization.Nfkc.Normalize),
            "NFKD" => new Mapped(UnicodeNormalization.Nfkd.Normalize),
            "Lowercase" => new Mapped(Lowercase),
            "StripAccents" => new Mapped(static text => Filter(text, static point => !TextRules.IsMark(point))),
            "Nmt" => new Mapped(Nmt),
            "ByteLevel" => new Mapped(static text => ByteLetters.Encode(text)),
            "Strip" => Strip(fields),
            "Prepend" => Prepend(fields),
            "Replace" => Replace(fields),
            "BertNormalizer" => Bert(fields),
            _ => throw fields.Error("type", $"is \"{type}\"; this normalizer is not supported"),
        };
        fields.Finish();
        return result;
    }

    /// <summary>Converts each character to lower case, independently of its context. Only U+0130 becomes two characters.</summary>
    public static string Lowercase(string text) => Map(text, static (point, result) =>
    {
        Append(result, UnicodeData.ToLower(point));
        if (point == 0x130)
            result.Append('\u0307');
    });

    private static INormalizer? Sequence(JsonFields fields)
    {
        IReadOnlyList<JsonFields> steps = fields.Objects("normalizers") ?? throw fields.Error("normalizers", "is missing");
        INormalizer[] chain = [.. steps.Select(Read).OfType<INormalizer>()];
        return chain.Length == 0 ? null : new Chain(chain);
    }

    private static Mapped? Precompiled(JsonFields fields)
    {
        try
        {
            byte[] blob = Convert.FromBase64String(fields.RequiredText("precompiled_charsmap"));
            return blob.Length == 0 ? null : new Mapped(new PrecompiledMap(blob, fields.Source).NormalizeClusters);
        }
        catch (FormatException e)
        {
            throw new UserException(fields.Error("precompiled_charsmap", "is not in Base64").Message, e);
        }
    }

    private static Mapped? Strip(JsonFields fields)
    {
        bool left = Required(fields, "strip_left"), right = Required(fields, "strip_right");
        return new(text =>
        {
            // All white space is in the basic plane.
            int start = 0, end = text.Length;
            while (left && start < end && UnicodeData.IsWhiteSpace(text[start]))
                start++;
            while (right && end > start && UnicodeData.IsWhiteSpace(text[end - 1]))
                end--;
            return text[start..end];
        });
    }

    private static Mapped Prepend(JsonFields fields)
    {
        string prefix = fields.RequiredText("prepend");
        return new(text => text.Length == 0 ? text : prefix + text);
    }

    private static Mapped Replace(JsonFields fields)
    {
        TextPattern pattern = TextPattern.Read(fields);
        string content = fields.RequiredText("content");
        return new(text => pattern.Replace(text, content));
    }

    private static string Nmt(string text) => Map(text, static (point, result) =>
    {
        if (point is (>= 1 and <= 8) or 0xB or (>= 0xE and <= 0x1F) or 0x7F or 0x8F or 0x9F)
            return;
        Append(result, point is '\t' or '\n' or '\f' or '\r' or 0x1680 or (>= 0x200B and <= 0x200F) or 0x2028 or 0x2029 or 0x2581 or 0xFEFF or 0xFFFD ? ' ' : point);
    });

    private static Mapped Bert(JsonFields fields)
    {
        bool clean = Required(fields, "clean_text"), ideographs = Required(fields, "handle_chinese_chars"), lower = Required(fields, "lowercase");
        bool accents = fields.Flag("strip_accents") ?? lower;
        return new(text =>
        {
            if (clean)
                text = Map(text, Clean);
            if (ideographs)
                text = Map(text, Separate);
            if (accents)
                text = Filter(UnicodeNormalization.Nfd.Normalize(text), static point => !TextRules.IsNonSpacingMark(point));
            return lower ? Lowercase(text) : text;
        });

        static void Clean(int point, StringBuilder result)
        {
            if (point is '\t' or '\n' or '\r')
                result.Append(' ');
            else if (point is not (0 or 0xFFFD) && !TextRules.IsOther(point))
                Append(result, UnicodeData.IsWhiteSpace(point) ? ' ' : point);
        }

        static void Separate(int point, StringBuilder result)
        {
            bool ideograph = TextRules.IsIdeograph(point);
            Append(ideograph ? result.Append(' ') : result, point);
            if (ideograph)
                result.Append(' ');
        }
    }

    private static bool Required(JsonFields fields, string name) => fields.Flag(name) ?? throw fields.Error(name, "is missing; it must be true or false");

    private static string Filter(string text, Func<int, bool> keep) => Map(text, (point, result) =>
    {
        if (keep(point))
            Append(result, point);
    });

    private static string Map(string text, Action<int, StringBuilder> map)
    {
        var result = new StringBuilder(text.Length + (text.Length / 8));
        foreach (Rune rune in text.EnumerateRunes())
            map(rune.Value, result);
        return result.ToString();
    }

    private static void Append(StringBuilder result, int point)
    {
        if (point <= char.MaxValue)
        {
            result.Append((char)point);
            return;
        }

        Span<char> pair = stackalloc char[2];
        result.Append(pair[..new Rune(point).EncodeToUtf16(pair)]);
    }
}
