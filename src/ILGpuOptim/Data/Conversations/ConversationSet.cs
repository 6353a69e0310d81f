using ILGpuOptim.Data.ChatTemplates;

namespace ILGpuOptim.Data.Conversations;

/// <summary>Encoded conversations, in order.</summary>
internal sealed class ConversationSet
{
    private ConversationSet(IReadOnlyList<ConversationTokens> conversations)
    {
        Tokens = TokenSequence.From([.. conversations.SelectMany(item => item.Ids)]);
        Answers = TokenSequence.From([.. conversations.SelectMany(item => item.IsAnswer.Select(answer => answer ? 1 : 0))]);
        long end = 0;
        Ends = DocumentEnds.From([.. conversations.Select(item => end += item.Ids.Length)], Tokens.Length);
    }

    /// <summary>The tokens of all conversations.</summary>
    public TokenSequence Tokens { get; }

    /// <summary>1 for each token of an answer, else 0.</summary>
    public TokenSequence Answers { get; }

    /// <summary>The ends of the conversations.</summary>
    public DocumentEnds Ends { get; }

    /// <summary>Encodes conversations.</summary>
    /// <param name="conversations">The conversations.</param>
    /// <param name="template">Converts them to text.</param>
    /// <param name="tokenizer">Encodes the text.</param>
    /// <param name="block">The most tokens that predict others; a longer conversation loses its end.</param>
    /// <param name="sides">2: the conversations are pairs, which stay together; 1: they are not.</param>
    /// <param name="notes">Receives how many conversations were cut or left out.</param>
    /// <exception cref="UserException">A conversation cannot be converted; the message names its line.</exception>
    public static ConversationSet Of(IReadOnlyList<Conversation> conversations, ChatTemplate template, ITokenizer tokenizer, int block, int sides, ISet<string> notes)
    {
        var encoded = new ConversationTokens[conversations.Count];
        var errors = new UserException?[encoded.Length];
        Parallel.For(0, encoded.Length, i =>
        {
            try
            {
                encoded[i] = ConversationTokens.Encode(conversations[i], template, tokenizer);
            }
            catch (UserException e)
            {
                errors[i] = e;
            }
        });

        // The first line at fault is reported, whichever thread met one first.
        if (errors.FirstOrDefault(error => error is not null) is { } first)
            throw UserException.NamingSettings($"{first}", first);
        int cut = encoded.Count(item => item.Ids.Length > block + 1);
        ConversationTokens[] fitted = [.. encoded.Select(item => item.Ids.Length > block + 1 ? new ConversationTokens(item.Ids[..(block + 1)], item.IsAnswer[..(block + 1)]) : item)];
        ConversationTokens[] kept = [.. fitted.Chunk(sides).Where(pair => pair.All(item => item.IsAnswer.AsSpan(Math.Min(1, item.Ids.Length)).Contains(true))).SelectMany(pair => pair)];
        int dropped = (fitted.Length - kept.Length) / sides;
        if (cut > 0)
            notes.Add($"{cut:N0} of {encoded.Length:N0} conversations are longer than the block of {block} tokens and lose their ends{(dropped > 0 ? $"; {dropped:N0} of {(sides == 2 ? "the pairs" : "them")} have no answer left and are not used" : "")}");
        return new ConversationSet(kept);
    }
}
