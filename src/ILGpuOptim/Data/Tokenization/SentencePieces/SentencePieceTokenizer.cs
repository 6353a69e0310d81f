namespace ILGpuOptim.Data.Tokenization.SentencePieces;

/// <summary>Encodes and decodes with a SentencePiece model.</summary>
internal interface IPieceCoder
{
    /// <summary>Ids lie below this.</summary>
    int VocabularySize { get; }

    /// <summary>The id that prompts begin with, where there is one.</summary>
    int? PromptStart { get; }

    /// <summary>The id of the token with exactly this text; null where there is none.</summary>
    int? IdOf(string token);

    /// <summary>The ids of a text without halves of surrogate pairs.</summary>
    IEnumerable<int> Encode(string text);

    /// <summary>The text of ids; unknown ids give replacement characters.</summary>
    string Decode(ReadOnlySpan<int> ids);
}

/// <summary>A SentencePiece model with the files that it was made of, which travel with a trained model.</summary>
/// <param name="coder">The model, as its own program or Hugging Face's library uses it.</param>
/// <param name="files">What <see cref="Save"/> writes.</param>
internal sealed class SentencePieceTokenizer(IPieceCoder coder, IReadOnlyList<(string Name, byte[] Contents)> files) : ITokenizer
{
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
