using ILGpuOptim.Data.Tokenization.SentencePieces;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>Opens tokenizers in the formats of Hugging Face, SentencePiece and tiktoken.</summary>
internal static class TokenizerFiles
{
    /// <summary>Hugging Face's format.</summary>
    public const string HuggingFace = "tokenizer.json";

    /// <summary>The files of GPT-2.</summary>
    public const string Vocabulary = "vocab.json", Merges = "merges.txt";

    /// <summary>The files of SentencePiece and BERT.</summary>
    public const string SentencePiece = "tokenizer.model", WordPiece = "vocab.txt";

    /// <summary>The extension of tiktoken's files.</summary>
    private const string Tiktoken = ".tiktoken";

    /// <summary>The folder of additional chat templates.</summary>
    public const string ChatTemplates = "additional_chat_templates";

    /// <summary>SentencePiece models of classes whose ids differ from those of the model.</summary>
    private static readonly string[] OtherSentencePieces = ["spiece.model", "sentencepiece.bpe.model"];

    /// <summary>The files of tokenizers. All of them in a folder are saved with a model.</summary>
    private static readonly string[] Sources = [HuggingFace, Vocabulary, Merges, SentencePiece, WordPiece];

    /// <summary>Other files that are saved with a tokenizer.</summary>
    private static readonly string[] Companions =
    [
        CompanionSettings.Config, CompanionSettings.SpecialTokensMap, CompanionSettings.AddedTokens, "generation_config.json", "chat_template.jinja", "chat_template.json",
        "processor_config.json", "preprocessor_config.json", "image_processor_config.json", "video_preprocessor_config.json",
    ];

    /// <summary>The names of the bundled encodings.</summary>
    public static IReadOnlyList<string> Encodings { get; } = ["o200k", "cl100k"];

    /// <summary>
    /// The tokenizer of a folder; null if there is none. The first of <c>tokenizer.json</c>, <c>vocab.json</c> with <c>merges.txt</c>,
    /// <c>tokenizer.model</c> and <c>vocab.txt</c> is used.
    /// </summary>
    /// <exception cref="UserException">A file is damaged or not supported.</exception>
    public static ITokenizer? TryOpenFolder(string folder)
    {
        bool Has(string name) => File.Exists(Path.Combine(folder, name));
        string? first = Has(HuggingFace) ? HuggingFace : Has(Vocabulary) && Has(Merges) ? Vocabulary : Has(SentencePiece) ? SentencePiece : Has(WordPiece) ? WordPiece : null;
        if (first is not null)
            return OpenFile(Path.Combine(folder, first));
        if (OtherSentencePieces.FirstOrDefault(Has) is { } other)
            throw new UserException($"{Path.Combine(folder, other)}: tokenizers that use this file name (T5, ALBERT, XLM-RoBERTa …) have other ids than the model; convert the tokenizer to a tokenizer.json");
        return null;
    }

    /// <summary>Opens a tokenizer file with the companion files beside it. The format is known by the name and the contents.</summary>
    /// <exception cref="UserException">The file is damaged or not a tokenizer.</exception>
    public static ITokenizer OpenFile(string path)
    {
        string folder = Path.GetDirectoryName(Path.GetFullPath(path))!, name = Path.GetFileName(path);
        if (name == Merges)
            return OpenFile(Path.Combine(folder, Vocabulary));
        bool Ends(string ending) => name.EndsWith(ending, StringComparison.OrdinalIgnoreCase);
        string kind = name == Vocabulary ? Vocabulary : Ends(".json") ? HuggingFace : Ends(".txt") ? WordPiece : Ends(".model") ? SentencePiece : Ends(Tiktoken) ? Tiktoken
            : throw new UserException($"{path}: unknown type of tokenizer file; give a tokenizer.json, vocab.json, vocab.txt, .model or .tiktoken file, or a folder with them");
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
        byte[] contents = SourceFile.ReadAllBytes(path, JsonFields.MaxFileBytes, "it is not a tokenizer");
        GitLfs.Check(path, contents);
        return contents;
    }

    private static SentencePieceTokenizer OpenSentencePiece(string path, List<(string Name, byte[] Contents)> files)
    {
        SentencePieceModel model = SentencePieceFile.Read(files[0].Contents, path);
        IPieceCoder coder = CompanionSettings.Read(Path.GetDirectoryName(path)!, files) is { } settings ? new LlamaCoder(model, settings, path) : new SentencePieceProcessor(model, path);
        return new SentencePieceTokenizer(coder, model, files);
    }
}
