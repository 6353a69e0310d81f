using ILGpuOptim.Data.ChatTemplates;

namespace ILGpuOptim.Data.Conversations;

/// <summary>The tokens of a conversation.</summary>
/// <param name="Ids">The tokens.</param>
/// <param name="IsAnswer">For each token: true if it belongs to an answer that is trained on.</param>
internal sealed record ConversationTokens(int[] Ids, bool[] IsAnswer)
{
    /// <summary>
    /// Encodes a conversation as a whole, as transformers does. An answer has the tokens from the first that differs from the encoding of the text before it up
    /// to its end, so that a token that lies on the border belongs to the answer.
    /// </summary>
    /// <exception cref="UserException">The template refuses the conversation, or the tokenizer does not know a character.</exception>
    public static ConversationTokens Encode(Conversation conversation, ChatTemplate template, ITokenizer tokenizer)
    {
        try
        {
            (string text, IReadOnlyList<(int Start, int End)> answers) = template.RenderAnswers(conversation.Messages);
            int[] ids = tokenizer.Encode(text);
            bool[] isAnswer = new bool[ids.Length];
            bool[] trained = [.. conversation.Messages.Select((message, i) => (message, Trained: conversation.IsTrained[i])).Where(item => item.message.IsAnswer).Select(item => item.Trained)];
            for (int i = 0; i < trained.Length; i++)
            {
                if (!trained[i])
                    continue;
                int start = TokensBefore(text, answers[i].Start, ids, tokenizer), end = TokensBefore(text, answers[i].End, ids, tokenizer, inclusive: true);
                isAnswer.AsSpan(start, Math.Max(0, end - start)).Fill(true);
            }

            return new ConversationTokens(ids, isAnswer);
        }
        catch (UserException e)
        {
            throw UserException.NamingSettings($"{conversation.Place}: {e}", e);
        }
    }

    /// <summary>The number of tokens before a place in the text.</summary>
    /// <param name="text">The text.</param>
    /// <param name="place">The number of characters before it.</param>
    /// <param name="ids">The tokens of the text.</param>
    /// <param name="tokenizer">The tokenizer.</param>
    /// <param name="inclusive">Counts a token that lies on the border.</param>
    private static int TokensBefore(string text, int place, int[] ids, ITokenizer tokenizer, bool inclusive = false)
    {
        if (place == text.Length)
            return ids.Length;
        int[] before = place == 0 ? [] : tokenizer.Encode(text.AsSpan(0, place));
        int common = ids.AsSpan().CommonPrefixLength(before);
        return common < before.Length && inclusive ? common + 1 : common;
    }
}
