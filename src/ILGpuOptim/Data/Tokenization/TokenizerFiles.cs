using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using ILGpuOptim.Data.Tokenization.SentencePieces;
using ILGpuOptim.Files;
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

    /// <summary>A folder of further chat templates.</summary>
    private const string ChatTemplates = "additional_chat_templates";

    /// <summary>Files of SentencePiece models whose classes number the pieces in another way.</summary>
    private static readonly string[] OtherSentencePieces = ["spiece.model", "sentencepiece.bpe.model"];

    /// <summary>Files that make a tokenizer; all that a folder holds travel with a model.</summary>
    private static readonly string[] Sources = [HuggingFace, Vocabulary, Merges, SentencePiece, WordPiece];

    /// <summary>Files that travel beside a tokenizer.</summary>
    private static readonly string[] Companions =
    [
        CompanionSettings.Config, CompanionSettings.SpecialTokensMap, CompanionSettings.AddedTokens, "generation_config.json", "chat_template.jinja", "chat_template.json",
        "processor_config.json", "preprocessor_config.json", "image_processor_config.json", "video_preprocessor_config.json",
    ];

    /// <summary>Names of encodings that come with the program.</summary>
    public static IReadOnlyList<string> Encodings { get; } = ["o200k", "cl100k"];

    /// <summary>GPT-2's cut of a text into words: contractions, letters, digits and signs with the space before them, white space.</summary>
    [GeneratedRegex(@"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", RegexOptions.CultureInvariant)]
    public static partial Regex Gpt2Words { get; }

    /// <summary>
    /// The tokenizer of a folder; null when it has none of these formats. Of several, the first of <c>tokenizer.json</c>, <c>vocab.json</c> with
    /// <c>merges.txt</c>, <c>tokenizer.model</c> and <c>vocab.txt</c> is taken.
    /// </summary>
    /// <exception cref="UserException">A file is damaged or of a kind that is not supported.</exception>
    public static ITokenizer? TryOpenFolder(string folder)
    {
        bool Has(string name) => File.Exists(Path.Combine(folder, name));
        string? first = Has(HuggingFace) ? HuggingFace : Has(Vocabulary) && Has(Merges) ? Vocabulary : Has(SentencePiece) ? SentencePiece : Has(WordPiece) ? WordPiece : null;
        if (first is not null)
            return OpenFile(Path.Combine(folder, first));
        if (OtherSentencePieces.FirstOrDefault(Has) is { } other)
            throw new UserException($"{Path.Combine(folder, other)}: the class of tokenizers that keeps its model under this name (T5, ALBERT, XLM-RoBERTa …) has other ids than the model; convert the tokenizer to a tokenizer.json");
        return null;
    }

    /// <summary>The tokenizer of a file, by its name and contents, with the companion files beside it.</summary>
    /// <exception cref="UserException">It is damaged or no tokenizer.</exception>
    public static ITokenizer OpenFile(string path)
    {
        string folder = Path.GetDirectoryName(Path.GetFullPath(path))!, name = Path.GetFileName(path);
        if (name == Merges)
            return OpenFile(Path.Combine(folder, Vocabulary));
        bool Ends(string ending) => name.EndsWith(ending, StringComparison.OrdinalIgnoreCase);
        string kind = name == Vocabulary ? Vocabulary : Ends(".json") ? HuggingFace : Ends(".txt") ? WordPiece : Ends(".model") ? SentencePiece
            : throw new UserException($"{path}: no kind of tokenizer ends so; give a tokenizer.json, vocab.json, vocab.txt or .model file, or a folder with them");
        byte[] contents = Contents(path);
        if (contents.Length == 0)
            throw new UserException($"{path}: the file is empty; take it again from where it came");
        if (contents.AsSpan().StartsWith("version https://git-lfs.github.com/"u8))
            throw new UserException($"{path}: a Git LFS pointer instead of the file; run git lfs pull where it was cloned, or download the file");
        List<(string Name, byte[] Contents)> files = [(kind, contents), .. FilesOf(folder, kind)];
        return kind switch
        {
            Vocabulary => OpenGpt2(path, files),
            SentencePiece => OpenSentencePiece(path, folder, files),
            WordPiece => OpenWordPiece(path, files),
            _ => Guard(path, () => TokenizerJson.Read(path, contents, files)),
        };
    }

    /// <summary>A tokenizer of tiktoken that comes with the program.</summary>
    public static ITokenizer OpenEncoding(string name)
    {
        TiktokenTokenizer tokenizer = TiktokenTokenizer.CreateForEncoding(name + "_base");
        int size = Math.Max(name == "o200k" ? 199_998 : 100_256, tokenizer.SpecialTokens?.Values.DefaultIfEmpty(0).Max() + 1 ?? 0);
        byte[] note = JsonSerializer.SerializeToUtf8Bytes(new { kind = "tiktoken", encoding = name });
        return new LibraryTokenizer(name, tokenizer, size, [(Tokenizers.FileName, note)]);
    }

    /// <summary>Writes a tokenizer's files into a folder.</summary>
    public static void Save(string folder, IEnumerable<(string Name, byte[] Contents)> files)
    {
        foreach ((string name, byte[] contents) in files)
        {
            string path = Path.Combine(folder, name);
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            AtomicFolder.WriteBytes(path, contents);
        }
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

    /// <summary>The other files of a folder that belong to a tokenizer.</summary>
    private static IEnumerable<(string, byte[])> FilesOf(string folder, string without)
    {
        IEnumerable<string> templates = Directory.Exists(Path.Combine(folder, ChatTemplates))
            ? Directory.EnumerateFiles(Path.Combine(folder, ChatTemplates), "*.jinja").Select(file => $"{ChatTemplates}/{Path.GetFileName(file)}").Order(StringComparer.Ordinal) : [];
        return Sources.Where(name => name != without).Concat(Companions).Where(name => File.Exists(Path.Combine(folder, name))).Concat(templates)
            .Select(name => (name, Contents(Path.Combine(folder, name))));
    }

    private static byte[] Contents(string path)
    {
        try
        {
            var file = new FileInfo(path);
            if (!file.Exists)
                throw new UserException($"{path}: the file is missing");
            return file.Length <= JsonFields.MaxFileBytes ? File.ReadAllBytes(path)
                : throw new UserException($"{path}: {file.Length:N0} bytes; a tokenizer's file of at most {JsonFields.MaxFileBytes:N0} bytes is read");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{path}: {e.Message}", e);
        }
    }

    private static LibraryTokenizer OpenGpt2(string path, List<(string Name, byte[] Contents)> files) => Guard(path, () =>
    {
        byte[]? ByName(string name) => files.Find(file => file.Name == name).Contents;
        Dictionary<string, int> vocabulary = JsonSerializer.Deserialize<Dictionary<string, int>>(ByName(Vocabulary) ?? throw new UserException($"{path}: it is missing beside {Merges}"))!;
        string[] merges = [.. Encoding.UTF8.GetString(ByName(Merges) ?? throw new UserException($"{path}: {Merges} is missing beside it"))
            .Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line.TrimEnd('\r')).Where((line, i) => i > 0 || !line.StartsWith("#version", StringComparison.Ordinal))];
        var special = vocabulary.Where(pair => pair.Key.StartsWith("<|", StringComparison.Ordinal) && pair.Key.EndsWith("|>", StringComparison.Ordinal)).ToDictionary();
        return new LibraryTokenizer("bpe", ByteLevel(vocabulary, merges, Gpt2Words, special), vocabulary.Values.Max() + 1, files);
    });

    private static SentencePieces.SentencePieceTokenizer OpenSentencePiece(string path, string folder, List<(string Name, byte[] Contents)> files)
    {
        SentencePieceModel model = SentencePieceFile.Read(files[0].Contents, path);
        IPieceCoder coder = CompanionSettings.Read(folder, files) is { } settings ? new LlamaCoder(model, settings, path) : new SentencePieceProcessor(model, path);
        return new SentencePieces.SentencePieceTokenizer(coder, files);
    }

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
