namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// tiktoken's byte-pair encoding: merges two adjacent tokens if their joined bytes are a token, in order of rank, leftmost first. A piece
/// that is a token is encoded as that token.
/// </summary>
internal sealed class TiktokenModel : ITokenModel
{
    private readonly Vocabulary vocabulary;
    private readonly MergeTable merges;

    /// <param name="tokens">Tokens and their ranks; all 256 bytes are tokens.</param>
    /// <param name="source">The file, for messages.</param>
    public TiktokenModel(IReadOnlyList<(byte[] Token, int Rank)> tokens, string source)
    {
        vocabulary = new Vocabulary(tokens.Select(token => KeyValuePair.Create(Letters(token.Token), token.Rank)), source);
        merges = new MergeTable([.. Enumerable.Range(0, vocabulary.Size)]);
        foreach ((int left, int right, int rank) in Splits(vocabulary.Entries))
            merges.Add(left, right, rank);
    }

    /// <summary>The pairs of tokens that make a token, in the order of its rank.</summary>
    public IEnumerable<(int Left, int Right)> Merges => Splits(vocabulary.Entries.OrderBy(entry => entry.Value)).Select(split => (split.Left, split.Right));

    /// <inheritdoc/>
    public int VocabularySize => vocabulary.Size;

    /// <inheritdoc/>
    public int? IdOf(string token) => vocabulary.IdOf(token);

    /// <inheritdoc/>
    public string? TokenOf(int id) => vocabulary.TokenOf(id);

    /// <inheritdoc/>
    public void Encode(ReadOnlySpan<char> piece, List<int> ids)
    {
        if (vocabulary.IdOf(piece) is { } whole)
        {
            ids.Add(whole);
            return;
        }

        int[] symbols = new int[piece.Length];
        for (int i = 0; i < piece.Length; i++)
            symbols[i] = vocabulary.IdOf(piece.Slice(i, 1))!.Value;
        ids.AddRange(symbols.AsSpan(0, merges.Apply(symbols)));
    }

    private IEnumerable<(int Left, int Right, int Rank)> Splits(IEnumerable<KeyValuePair<string, int>> entries)
    {
        foreach ((string token, int rank) in entries)
        {
            for (int cut = 1; cut < token.Length; cut++)
            {
                if (vocabulary.IdOf(token.AsSpan(0, cut)) is { } left && vocabulary.IdOf(token.AsSpan(cut)) is { } right)
                    yield return (left, right, rank);
            }
        }
    }

    private static string Letters(byte[] bytes) => string.Create(bytes.Length, bytes, static (letters, bytes) =>
    {
        for (int i = 0; i < letters.Length; i++)
            letters[i] = ByteLetters.All[bytes[i]];
    });
}
