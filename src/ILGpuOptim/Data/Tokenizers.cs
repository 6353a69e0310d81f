using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json.Nodes;
using ILGpuOptim.Data.Tokenization;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data;

/// <summary>Converts text to token ids and back.</summary>
public interface ITokenizer
{
    /// <summary>The name of its kind in saved files.</summary>
    string Kind { get; }

    /// <summary>The vocabulary size: all ids are below it.</summary>
    int VocabularySize { get; }

    /// <summary>The id that prompts begin with; null if there is none.</summary>
    int? PromptStart => null;

    /// <summary>All ids that prompts begin with: <see cref="PromptStart"/>, and for a few tokenizers further ids after it.</summary>
    IReadOnlyList<int> PromptPrefix => PromptStart is { } start ? [start] : [];

    /// <summary>The id of the token with exactly this text; null if there is none.</summary>
    int? IdOf(string token) => null;

    /// <summary>The ids of a text. Unpaired surrogates are read as U+FFFD.</summary>
    /// <exception cref="UserException">The text has unknown characters.</exception>
    int[] Encode(ReadOnlySpan<char> text);

    /// <summary>Decodes ids; unknown ids and invalid sequences become replacement characters.</summary>
    string Decode(ReadOnlySpan<int> ids);

    /// <summary>Saves its files to a folder.</summary>
    void Save(string folder);
}

/// <summary>Opens tokenizers.</summary>
public static class Tokenizers
{
    /// <summary>The file of the character and byte tokenizers.</summary>
    internal const string FileName = "ilgpuoptim-tokenizer.json";

    /// <summary>Reads a folder's tokenizer; null if it has none.</summary>
    /// <exception cref="UserException">The file is damaged.</exception>
    public static ITokenizer? Load(string folder)
    {
        string path = Path.Combine(folder, FileName);
        if (!File.Exists(path))
            return TokenizerFiles.TryOpenFolder(folder);
        JsonFields fields = JsonFields.Open(path);
        string kind = fields.RequiredText("kind");
        ITokenizer tokenizer = kind switch
        {
            "byte" => new ByteTokenizer(),
            "tiktoken" when fields.RequiredText("encoding") is var encoding => TokenizerFiles.Encodings.Contains(encoding) ? TiktokenEncodings.Bundled(encoding)
                : throw fields.Error("encoding", $"is \"{encoding}\"; it must be one of {string.Join(", ", TokenizerFiles.Encodings)}"),
            "char" => new CharTokenizer(Characters(fields)),
            _ => throw fields.Error("kind", $"is \"{kind}\"; it must be char, byte or tiktoken"),
        };
        fields.Finish();
        return tokenizer;
    }

    /// <summary>
    /// Opens a tokenizer by name (<c>byte</c>, <c>o200k</c>, <c>cl100k</c>) or by the path of its file or folder. The character
    /// tokenizer is created from a text instead (<see cref="CharTokenizer.From"/>).
    /// </summary>
    /// <exception cref="UserException">There is no such tokenizer.</exception>
    public static ITokenizer Open(string name)
    {
        if (name == "byte")
            return new ByteTokenizer();
        if (TokenizerFiles.Encodings.Contains(name))
            return TiktokenEncodings.Bundled(name);
        if (Directory.Exists(name))
            return Load(name) ?? throw new UserException($"{name}: the folder has no tokenizer; it needs tokenizer.json, vocab.json with merges.txt, tokenizer.model or vocab.txt");
        if (File.Exists(name))
            return TokenizerFiles.OpenFile(name);
        if (name == "char")
            throw new UserException($"the char tokenizer is created from a text by train; here, give byte, {string.Join(", ", TokenizerFiles.Encodings)}, or the path of a tokenizer's file or folder");
        throw new UserException($"there is no tokenizer \"{name}\"; give char, byte, {string.Join(", ", TokenizerFiles.Encodings)}, or the path of a tokenizer's file or folder");
    }

    /// <summary>Reads the characters in the order of ids, which must be that of code points.</summary>
    private static Rune[] Characters(JsonFields fields)
    {
        var result = new List<Rune>();
        foreach (string text in fields.Texts("characters") ?? throw fields.Error("characters", "is missing"))
        {
            if (text.Length == 0 || !Rune.TryGetRuneAt(text, 0, out Rune rune) || rune.Utf16SequenceLength != text.Length || (result.Count > 0 && rune <= result[^1]))
                throw fields.Error($"characters[{result.Count}]", $"is \"{text}\", not one character with a code point above the previous one; use the file that was saved with the model");
            result.Add(rune);
        }

        return [.. result];
    }

    internal static void Write(string folder, JsonObject contents) =>
        AtomicFolder.WriteText(Path.Combine(folder, FileName), contents.ToJsonString());
}

/// <summary>Maps each character (Unicode scalar value) of a text to an id, in order of code points.</summary>
public sealed class CharTokenizer : ITokenizer
{
    private readonly Rune[] characters;
    private readonly Dictionary<Rune, int> ids = [];

    /// <summary>Creates a tokenizer for the given characters.</summary>
    public CharTokenizer(IEnumerable<Rune> characters)
    {
        this.characters = [.. characters.Distinct().Order()];
        for (int i = 0; i < this.characters.Length; i++)
            ids[this.characters[i]] = i;
    }

    /// <summary>Creates a tokenizer for the characters of a text.</summary>
    public static CharTokenizer From(ReadOnlySpan<char> text)
    {
        var seen = new HashSet<Rune>();
        foreach (Rune rune in text.EnumerateRunes())
            seen.Add(rune);
        return new CharTokenizer(seen);
    }

    /// <summary>The characters in the order of ids.</summary>
    internal IReadOnlyList<Rune> Characters => characters;

    /// <inheritdoc/>
    public string Kind => "char";

    /// <inheritdoc/>
    public int VocabularySize => characters.Length;

    /// <inheritdoc/>
    public int[] Encode(ReadOnlySpan<char> text)
    {
        var result = new List<int>(text.Length);
        foreach (Rune rune in text.EnumerateRunes())
        {
            if (!ids.TryGetValue(rune, out int id))
                throw UserException.NamingSettings($"the character {Show(rune)} at position {result.Count} is not among the {characters.Length} that the model was trained on; leave it out or train with {"Tokenizer":setting} byte");
            result.Add(id);
        }

        return [.. result];
    }

    private static string Show(Rune rune) => Rune.IsControl(rune) || Rune.IsWhiteSpace(rune) ? $"U+{rune.Value:X4}" : $"'{rune}' (U+{rune.Value:X4})";

    /// <inheritdoc/>
    public string Decode(ReadOnlySpan<int> ids)
    {
        var text = new StringBuilder(ids.Length);
        foreach (int id in ids)
            text.Append(((uint)id < (uint)characters.Length ? characters[id] : Rune.ReplacementChar).ToString());
        return text.ToString();
    }

    /// <inheritdoc/>
    public void Save(string folder) =>
        Tokenizers.Write(folder, new JsonObject { ["kind"] = Kind, ["characters"] = JsonNodes.Of(characters.Select(rune => rune.ToString())) });
}

/// <summary>Encodes text as UTF-8 bytes: 256 ids, for any text.</summary>
public sealed class ByteTokenizer : ITokenizer
{
    /// <inheritdoc/>
    public string Kind => "byte";

    /// <inheritdoc/>
    public int VocabularySize => 256;

    /// <inheritdoc/>
    public int[] Encode(ReadOnlySpan<char> text)
    {
        var bytes = new byte[Encoding.UTF8.GetByteCount(text)];
        Encoding.UTF8.GetBytes(text, bytes);
        return Array.ConvertAll(bytes, static value => (int)value);
    }

    /// <inheritdoc/>
    public string Decode(ReadOnlySpan<int> ids)
    {
        var bytes = new List<byte>(ids.Length);
        foreach (int id in ids)
        {
            if ((uint)id <= byte.MaxValue)
                bytes.Add((byte)id);
            else
                bytes.AddRange("\uFFFD"u8);
        }

        return Encoding.UTF8.GetString(CollectionsMarshal.AsSpan(bytes));
    }

    /// <inheritdoc/>
    public void Save(string folder) => Tokenizers.Write(folder, new JsonObject { ["kind"] = Kind });
}
