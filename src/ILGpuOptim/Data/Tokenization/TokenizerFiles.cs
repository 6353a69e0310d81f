using ILGpuOptim.Data.Tokenization.SentencePieces;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>Opens tokenizers in the formats of Hugging Face, SentencePiece and tiktoken.</summary>
internal static class TokenizerFiles
{
    /// <summary>Hugging Face's one file.</summary>
    public const string HuggingFace = "tokenizer.json";

    /// <summary>GPT-2's two files.</summary>
    public const string Vocabulary = "vocab.json", Merges = "merges.txt";

    /// <summary>SentencePiece's, and BERT's.</summary>
    public const string SentencePiece = "tokenizer.model", WordPiece = "vocab.txt";

    /// <summary>The ending of tiktoken's files.</summary>
    private const string Tiktoken = ".tiktoken";

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
        string kind = name == Vocabulary ? Vocabulary : Ends(".json") ? HuggingFace : Ends(".txt") ? WordPiece : Ends(".model") ? SentencePiece : Ends(Tiktoken) ? Tiktoken
            : throw new UserException($"{path}: no kind of tokenizer ends so; give a tokenizer.json, vocab.json, vocab.txt, .model or .tiktoken file, or a folder with them");
        byte[] contents = Contents(path);
        List<(string Name, byte[] Contents)> files = [(kind, contents), .. FilesOf(folder, kind)];
        return Open(kind, path, contents, files);
    }

    private static ITokenizer Open(string kind, string path, byte[] contents, List<(string Name, byte[] Contents)> files) => kind switch
    {
        Tiktoken => TiktokenEncodings.Open(path, files),
        Vocabulary => BytePairFiles.Open(path, files),
        SentencePiece when TiktokenFile.Recognises(contents) => TiktokenEncodings.Open(path, files),
        SentencePiece => OpenSentencePiece(path, files),
        WordPiece => WordPieceFiles.Open(path, files),
        _ => TokenizerJson.Read(path, contents, files),
    };

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
        byte[] contents = SourceFile.ReadAllBytes(path, JsonFields.MaxFileBytes, "it is no tokenizer");
        GitLfs.Check(path, contents);
        return contents;
    }

    private static SentencePieceTokenizer OpenSentencePiece(string path, List<(string Name, byte[] Contents)> files)
    {
        SentencePieceModel model = SentencePieceFile.Read(files[0].Contents, path);
        IPieceCoder coder = CompanionSettings.Read(Path.GetDirectoryName(path)!, files) is { } settings ? new LlamaCoder(model, settings, path) : new SentencePieceProcessor(model, path);
        return new SentencePieceTokenizer(coder, files);
    }
}
