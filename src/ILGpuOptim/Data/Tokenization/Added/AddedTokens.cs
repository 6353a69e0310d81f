namespace ILGpuOptim.Data.Tokenization;

/// <summary>The added tokens of a tokenizer: those that are matched in the original text, and those that are matched in the normalized text.</summary>
internal sealed class AddedTokens
{
    private readonly Dictionary<string, int> ids = [];
    private readonly Dictionary<int, string> contents = [];

    /// <summary>Builds the matchers.</summary>
    /// <param name="tokens">Tokens with distinct texts and ids. Empty tokens are ignored.</param>
    /// <param name="normalizer">The normalizer of tokens that are matched in normalized text; null for none.</param>
    /// <param name="source">The file and the position in it, for messages.</param>
    /// <exception cref="UserException">A text or an id appears twice, or a token is empty after normalization.</exception>
    public AddedTokens(IEnumerable<AddedToken> tokens, INormalizer? normalizer, string source)
    {
        All = [.. tokens.Where(token => token.Content.Length > 0)];
        List<AddedToken> plain = [], normalized = [];
        List<string> normalizedContents = [];
        foreach (AddedToken token in All)
        {
            Vocabulary.CheckId(token.Id, token.Content, source);
            if (!ids.TryAdd(token.Content, token.Id))
                throw new UserException($"{source}: \"{token.Content}\" appears twice; remove one of the two");
            if (!contents.TryAdd(token.Id, token.Content))
                throw new UserException($"{source}: \"{contents[token.Id]}\" and \"{token.Content}\" have the same id {token.Id}; give each an id of its own");
            Size = Math.Max(Size, token.Id + 1);
            (token.Normalized ? normalized : plain).Add(token);
            if (!token.Normalized)
                continue;
            string content = normalizer?.Normalize(token.Content) ?? token.Content;
            if (content.Length == 0)
                throw new UserException($"{source}: \"{token.Content}\" is empty after normalization; set \"normalized\" to false or remove the token");
            normalizedContents.Add(content);
        }

        InText = new AddedTokenSplitter(plain, [.. plain.Select(token => token.Content)]);
        InNormalizedText = new AddedTokenSplitter(normalized, normalizedContents);
    }

    /// <summary>No tokens.</summary>
    public static AddedTokens None { get; } = new([], null, "");

    /// <summary>The tokens.</summary>
    public IReadOnlyList<AddedToken> All { get; }

    /// <summary>All ids are below this.</summary>
    public int Size { get; }

    /// <summary>Splits the original text.</summary>
    public AddedTokenSplitter InText { get; }

    /// <summary>Splits the normalized text between the tokens of <see cref="InText"/>.</summary>
    public AddedTokenSplitter InNormalizedText { get; }

    /// <summary>The id of a token; null if there is no such token.</summary>
    public int? IdOf(string token) => ids.TryGetValue(token, out int id) ? id : null;

    /// <summary>The token of an id; null if no added token has the id.</summary>
    public string? TokenOf(int id) => contents.GetValueOrDefault(id);
}
