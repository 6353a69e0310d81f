using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Microsoft.ML.Tokenizers;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>Opens tokenizers in the formats of Hugging Face, SentencePiece and tiktoken.</summary>
internal static partial class TokenizerFiles
{
    /// <summary>Hugging Face's one file.</summary>
    public const string HuggingFace = "tokenizer.json";

    /// <summary>GPT-2's two files.</summary>
    public const string Vocabulary = "vocab.json", Merges = "merges.txt";

    /// <summary>SentencePiece's, and BERT's.</summary>
    public const string SentencePiece = "tokenizer.model", WordPiece = "vocab.txt";

    /// <summary>Files that travel beside a tokenizer.</summary>
    private static readonly string[] Companions = ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "generation_config.json"];

    /// <summary>Names of encodings that come with the program.</summary>
    public static IReadOnlyList<string> Encodings { get; } = ["o200k", "cl100k"];

    /// <summary>GPT-2's cut of a text into words: contractions, letters, digits and signs with the space before them, white space.</summary>
    [GeneratedRegex(@"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", RegexOptions.CultureInvariant)]
    public static partial Regex Gpt2Words { get; }

    /// <summary>The tokenizer of a folder; null when it has none of these formats.</summary>
    /// <exception cref="UserException">A file is damaged or of a kind that is not supported.</exception>
    public static ITokenizer? TryOpenFolder(string folder)
    {
        bool Has(string name) => File.Exists(Path.Combine(folder, name));
        if (Has(HuggingFace))
        {
            // LLaMA 2's tokenizer.json is SentencePiece's model in other words; its own file is exact.
            return HuggingFaceTokenizer.IsSupported(Path.Combine(folder, HuggingFace)) || !Has(SentencePiece)
                ? HuggingFaceTokenizer.Open(Path.Combine(folder, HuggingFace), FilesOf(folder, HuggingFace, Vocabulary, Merges))
                : OpenSentencePiece(Path.Combine(folder, SentencePiece), FilesOf(folder, SentencePiece, HuggingFace));
        }

        if (Has(Vocabulary) && Has(Merges))
            return OpenGpt2(Path.Combine(folder, Vocabulary), FilesOf(folder, Vocabulary, Merges));
        if (Has(SentencePiece))
            return OpenSentencePiece(Path.Combine(folder, SentencePiece), FilesOf(folder, SentencePiece));
        return Has(WordPiece) ? OpenWordPiece(Path.Combine(folder, WordPiece), FilesOf(folder, WordPiece)) : null;
    }

    /// <summary>The tokenizer of a file, by its name.</summary>
    /// <exception cref="UserException">It is damaged or no tokenizer.</exception>
    public static ITokenizer OpenFile(string path)
    {
        string folder = Path.GetDirectoryName(Path.GetFullPath(path))!, name = Path.GetFileName(path);
        if (name.EndsWith(".model", StringComparison.OrdinalIgnoreCase))
            return OpenSentencePiece(path, [(SentencePiece, File.ReadAllBytes(path))]);
        if (name.EndsWith(".txt", StringComparison.OrdinalIgnoreCase) && name != Merges)
            return OpenWordPiece(path, [(WordPiece, File.ReadAllBytes(path)), .. FilesOf(folder)]);
        if (name is Vocabulary or Merges)
            return OpenGpt2(Path.Combine(folder, Vocabulary), FilesOf(folder, Vocabulary, Merges));
        if (name.EndsWith(".json", StringComparison.OrdinalIgnoreCase))
            return HuggingFaceTokenizer.Open(path, [(HuggingFace, File.ReadAllBytes(path)), .. FilesOf(folder)]);
        throw new UserException($"{path}: no kind of tokenizer ends so; give a tokenizer.json, vocab.json, vocab.txt or .model file, or a folder with them");
    }

    /// <summary>A tokenizer of tiktoken that comes with the program.</summary>
    public static ITokenizer OpenEncoding(string name)
    {
        TiktokenTokenizer tokenizer = TiktokenTokenizer.CreateForEncoding(name + "_base");
        int size = Math.Max(name == "o200k" ? 199_998 : 100_256, tokenizer.SpecialTokens?.Values.DefaultIfEmpty(0).Max() + 1 ?? 0);
        byte[] note = JsonSerializer.SerializeToUtf8Bytes(new { kind = "tiktoken", encoding = name });
        return new LibraryTokenizer(name, tokenizer, size, [(Tokenizers.FileName, note)]);
    }

    /// <summary>Byte-level BPE as GPT-2 and its heirs have it.</summary>
    /// <param name="vocabulary">Tokens, in the letters that stand for bytes, and their ids.</param>
    /// <param name="merges">Pairs, in their order.</param>
    /// <param name="words">Cuts a text before merging.</param>
    /// <param name="special">Tokens that are taken whole, before everything else.</param>
    public static BpeTokenizer ByteLevel(IEnumerable<KeyValuePair<string, int>> vocabulary, IEnumerable<string> merges, Regex words, IReadOnlyDictionary<string, int> special) =>
        BpeTokenizer.Create(new BpeOptions(vocabulary)
        {
            Merges = merges,
            ByteLevel = true,
            PreTokenizer = new RegexPreTokenizer(words, special),
            SpecialTokens = special,
        });

    /// <summary>Runs a reader and turns every complaint about a file into one line.</summary>
    public static T Guard<T>(string path, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception e) when (e is not UserException and not OutOfMemoryException)
        {
            throw new UserException($"{path}: not a tokenizer: {e.GetBaseException().Message}", e);
        }
    }

    /// <summary>The named files of a folder and their companions, where they are.</summary>
    private static List<(string, byte[])> FilesOf(string folder, params string[] names) =>
        [.. names.Concat(Companions).Where(name => File.Exists(Path.Combine(folder, name))).Select(name => (name, File.ReadAllBytes(Path.Combine(folder, name))))];

    private static LibraryTokenizer OpenGpt2(string path, List<(string Name, byte[] Contents)> files) => Guard(path, () =>
    {
        byte[]? ByName(string name) => files.Find(file => file.Name == name).Contents;
        Dictionary<string, int> vocabulary = JsonSerializer.Deserialize<Dictionary<string, int>>(ByName(Vocabulary) ?? throw new UserException($"{path}: it is missing beside {Merges}"))!;
        string[] merges = [.. Encoding.UTF8.GetString(ByName(Merges) ?? throw new UserException($"{path}: {Merges} is missing beside it"))
            .Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line.TrimEnd('\r')).Where((line, i) => i > 0 || !line.StartsWith("#version", StringComparison.Ordinal))];
        var special = vocabulary.Where(pair => pair.Key.StartsWith("<|", StringComparison.Ordinal) && pair.Key.EndsWith("|>", StringComparison.Ordinal)).ToDictionary();
        return new LibraryTokenizer("bpe", ByteLevel(vocabulary, merges, Gpt2Words, special), vocabulary.Values.Max() + 1, files);
    });

    private static LibraryTokenizer OpenSentencePiece(string path, List<(string Name, byte[] Contents)> files) => Guard(path, () =>
    {
        using var stream = new MemoryStream(files.Find(file => file.Name == SentencePiece).Contents);
        LlamaTokenizer tokenizer = LlamaTokenizer.Create(stream);
        return new LibraryTokenizer("sentencepiece", tokenizer, tokenizer.Vocabulary.Values.Max() + 1, files);
    });

    private static LibraryTokenizer OpenWordPiece(string path, List<(string Name, byte[] Contents)> files) => Guard(path, () =>
    {
        byte[] vocabulary = files.Find(file => file.Name == WordPiece).Contents;
        byte[]? settings = files.Find(file => file.Name == "tokenizer_config.json").Contents;
        bool lower = true, strips = true;
        if (settings is not null)
        {
            using JsonDocument json = JsonDocument.Parse(settings);
            lower = !json.RootElement.TryGetProperty("do_lower_case", out JsonElement value) || value.ValueKind != JsonValueKind.False;
            strips = json.RootElement.TryGetProperty("strip_accents", out value) && value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean() : lower;
        }

        return WordPieceOf(vocabulary, lower, strips, files);
    });

    /// <summary>BERT's tokenizer over a vocabulary of one token a line.</summary>
    public static LibraryTokenizer WordPieceOf(byte[] vocabulary, bool lowerCase, bool stripsAccents, IReadOnlyList<(string, byte[])> files)
    {
        string[] lines = Encoding.UTF8.GetString(vocabulary).TrimEnd('\n', '\r').Split('\n');
        var special = new Dictionary<string, int>();
        for (int id = 0; id < lines.Length; id++)
        {
            if (lines[id].TrimEnd('\r') is "[PAD]" or "[UNK]" or "[CLS]" or "[SEP]" or "[MASK]")
                special[lines[id].TrimEnd('\r')] = id;
        }

        using var stream = new MemoryStream(vocabulary);
        WordPieceTokenizer tokenizer = WordPieceTokenizer.Create(stream, new WordPieceOptions
        {
            PreTokenizer = new RegexPreTokenizer(WordPieceText.Words, null),
            MaxInputCharsPerWord = 100,
        });
        return new LibraryTokenizer("wordpiece", tokenizer, lines.Length, files)
        {
            Normalize = text => WordPieceText.Normalize(text, lowerCase, stripsAccents),
            Special = special,
        };
    }
}
