namespace ILGpuOptim.Data.Tokenization;

/// <summary>The added tokens of a tokenizer: those that are sought in the text itself, and those that are sought in the normalized text.</summary>
internal sealed class AddedTokens
{
    private readonly Dictionary<string, int> ids = [];
    private readonly Dictionary<int, string> contents = [];

    /// <summary>Prepares the search.</summary>
    /// <param name="tokens">Tokens with different texts and ids. Empty ones are never found and left out.</param>
    /// <param name="normalizer">What is applied to tokens that are sought in normalized text.</param>
    /// <param name="source">The file and the place in it, for messages.</param>
    /// <exception cref="UserException">A text or an id appears twice, or a token is empty after it was normalized.</exception>
    public AddedTokens(IEnumerable<AddedToken> tokens, INormalizer? normalizer, string source)
    {
        List<AddedToken> plain = [], normalized = [];
        List<string> normalizedContents = [];
        foreach (AddedToken token in tokens.Where(token => token.Content.Length > 0))
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
                throw new UserException($"{source}: nothing is left of \"{token.Content}\" after it was normalized; set \"normalized\" to false or remove the token");
            normalizedContents.Add(content);
        }

        InText = new TokenCutter(plain, [.. plain.Select(token => token.Content)]);
        InNormalizedText = new TokenCutter(normalized, normalizedContents);
    }

    /// <summary>No tokens.</summary>
    public static AddedTokens None { get; } = new([], null, "");

    /// <summary>Ids lie below this.</summary>
    public int Size { get; }

    /// <summary>Cuts a text.</summary>
    public TokenCutter InText { get; }

    /// <summary>Cuts what lies between the tokens of <see cref="InText"/>, after it was normalized.</summary>
    public TokenCutter InNormalizedText { get; }

    /// <summary>The id of a token's text; null when there is no such token.</summary>
    public int? IdOf(string token) => ids.TryGetValue(token, out int id) ? id : null;

    /// <summary>The text of an id; null for ids of the model.</summary>
    public string? TokenOf(int id) => contents.GetValueOrDefault(id);
}
