namespace ILGpuOptim.Data.Tokenization.SentencePieces;

/// <summary>Encodes and decodes with a SentencePiece model.</summary>
internal interface IPieceCoder
{
    /// <summary>The vocabulary size: all ids are below it.</summary>
    int VocabularySize { get; }

    /// <summary>The id that prompts begin with; null if there is none.</summary>
    int? PromptStart { get; }

    /// <summary>The id of the token with exactly this text; null if there is none.</summary>
    int? IdOf(string token);

    /// <summary>The ids of a text without unpaired surrogates.</summary>
    IEnumerable<int> Encode(string text);

    /// <summary>Decodes ids; unknown ids become replacement characters.</summary>
    string Decode(ReadOnlySpan<int> ids);
}

/// <summary>A SentencePiece model with its files, which are saved with a trained model.</summary>
/// <param name="coder">The coder: SentencePiece's own, or that of Hugging Face's library.</param>
/// <param name="model">The model.</param>
/// <param name="files">The files that <see cref="Save"/> writes.</param>
internal sealed class SentencePieceTokenizer(IPieceCoder coder, SentencePieceModel model, IReadOnlyList<(string Name, byte[] Contents)> files) : ITokenizer
{
    /// <summary>The model.</summary>
    public SentencePieceModel Model => model;

    /// <summary>The tokens that Hugging Face's companion files add, by id; some are pieces of the model.</summary>
    public IReadOnlyDictionary<int, AddedTokenSettings> Added => (coder as LlamaCoder)?.Added ?? new Dictionary<int, AddedTokenSettings>();

    /// <summary>The files that <see cref="Save"/> writes.</summary>
    public IReadOnlyList<(string Name, byte[] Contents)> Files => files;

    /// <inheritdoc/>
    public string Kind => "sentencepiece";

    /// <inheritdoc/>
    public int VocabularySize => coder.VocabularySize;

    /// <inheritdoc/>
    public int? PromptStart => coder.PromptStart;

    /// <inheritdoc/>
    public int? IdOf(string token) => coder.IdOf(token);

    /// <inheritdoc/>
    public int[] Encode(ReadOnlySpan<char> text) => [.. coder.Encode(Surrogates.WithoutHalves(text))];

    /// <inheritdoc/>
    public string Decode(ReadOnlySpan<int> ids) => coder.Decode(ids);

    /// <inheritdoc/>
    public void Save(string folder) => TokenizerFiles.Save(folder, files);
}
