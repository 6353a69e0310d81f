namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// A tokenizer composed as in Hugging Face's library: the text is split at added tokens; the rest is normalized, pre-tokenized and encoded
/// by the model. Thread-safe.
/// </summary>
/// <param name="kind">The kind of the model.</param>
/// <param name="model">The model.</param>
/// <param name="files">The files that <see cref="Save"/> writes.</param>
internal sealed class PipelineTokenizer(string kind, ITokenModel model, IReadOnlyList<(string Name, byte[] Contents)> files) : ITokenizer
{
    /// <summary>The added tokens.</summary>
    public AddedTokens Added { get; init; } = AddedTokens.None;

    /// <summary>The normalizer; null for none.</summary>
    public INormalizer? Normalizer { get; init; }

    /// <summary>The pre-tokenizer; null for none.</summary>
    public IPreTokenizer? PreTokenizer { get; init; }

    /// <summary>The patterns that split text into words, one after another, before bytes are mapped to letters; null: it is split in another way, or not into bytes.</summary>
    public IReadOnlyList<string>? WordPatterns { get; init; }

    /// <summary>The model.</summary>
    public ITokenModel Model => model;

    /// <summary>The files that <see cref="Save"/> writes.</summary>
    public IReadOnlyList<(string Name, byte[] Contents)> Files => files;

    /// <summary>The decoder; null: tokens are joined with spaces.</summary>
    public ITokenDecoder? Decoder { get; init; }

    /// <inheritdoc/>
    public IReadOnlyList<int> PromptPrefix { get; init; } = [];

    /// <inheritdoc/>
    public int? PromptStart => PromptPrefix.Count > 0 ? PromptPrefix[0] : null;

    /// <inheritdoc/>
    public string Kind => kind;

    /// <inheritdoc/>
    public int VocabularySize => Math.Max(model.VocabularySize, Added.Size);

    /// <inheritdoc/>
    public int? IdOf(string token) => Added.IdOf(token) ?? model.IdOf(token);

    /// <inheritdoc/>
    public int[] Encode(ReadOnlySpan<char> text)
    {
        var ids = new List<int>();
        string whole = Surrogates.WithoutHalves(text);
        foreach (AddedTokenSegment part in Added.InText.Split(whole))
        {
            if (part.Id is { } id)
                ids.Add(id);
            else
                EncodeBetween(whole[part.Start..part.End], part.Start == 0, ids);
        }

        return [.. ids];
    }

    /// <inheritdoc/>
    public string Decode(ReadOnlySpan<int> ids)
    {
        var tokens = new List<string>(ids.Length);
        foreach (int id in ids)
            tokens.Add(Added.TokenOf(id) ?? model.TokenOf(id) ?? "\uFFFD");
        return Decoder is null ? string.Join(' ', tokens) : string.Concat(Decoder.Decode(tokens));
    }

    /// <inheritdoc/>
    public void Save(string folder) => TokenizerFiles.Save(folder, files);

    /// <summary>The pieces of a text between added tokens, normalized, as the model gets them.</summary>
    /// <param name="text">The text.</param>
    /// <param name="atStart">No token is before it.</param>
    public IReadOnlyList<string> Pieces(string text, bool atStart = true)
    {
        var pieces = new List<TextPiece>();
        var whole = new TextPiece((Normalizer?.Normalize(text) ?? text).AsMemory(), atStart);
        if (PreTokenizer is null)
            pieces.Add(whole);
        else
            PreTokenizer.Split(whole, pieces);
        return [.. pieces.Select(piece => piece.Text.ToString())];
    }

    private void EncodeBetween(string text, bool atStart, List<int> ids)
    {
        string normalized = Normalizer?.Normalize(text) ?? text;

        // If the normalizer removes the first character, the rest does not count as the start of the text.
        atStart = atStart && Normalizer?.Normalize(text[..(char.IsSurrogate(text[0]) ? 2 : 1)]) is not "";
        var pieces = new List<TextPiece>();
        foreach (AddedTokenSegment part in Added.InNormalizedText.Split(normalized))
        {
            if (part.Id is { } id)
            {
                ids.Add(id);
                continue;
            }

            pieces.Clear();
            var piece = new TextPiece(normalized.AsMemory()[part.Start..part.End], atStart && part.Start == 0);
            if (PreTokenizer is null)
                pieces.Add(piece);
            else
                PreTokenizer.Split(piece, pieces);
            foreach (TextPiece split in pieces)
            {
                if (!split.Text.IsEmpty)
                    model.Encode(split.Text.Span, ids);
            }
        }
    }
}
