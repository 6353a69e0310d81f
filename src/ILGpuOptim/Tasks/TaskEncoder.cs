using System.Text;
using ILGpuOptim.Data;

namespace ILGpuOptim.Tasks;

/// <summary>
/// Encodes questions for a model. Context and continuation are encoded together, and the tokens after those of the context alone are the continuation's, as in
/// the Language Model Evaluation Harness. White space at the end of a context belongs to the continuation, since tokens usually begin with it.
/// </summary>
/// <param name="tokenizer">The tokenizer.</param>
/// <param name="start">The tokens before an empty context; empty if there are none.</param>
/// <param name="unit">The unit of lengths.</param>
internal sealed class TaskEncoder(ITokenizer tokenizer, IReadOnlyList<int> start, LengthUnit unit)
{
    /// <summary>The number of questions of a file of tokens that are compared with the tokenizer.</summary>
    private const int Compared = 20;

    /// <summary>Encodes a question.</summary>
    /// <exception cref="UserException">The tokenizer lacks a character, or a choice has no token of its own.</exception>
    public EncodedItem Encode(TaskItem item)
    {
        var contexts = new Dictionary<string, int[]>();
        var choices = new EncodedChoice[item.Choices];
        for (int i = 0; i < choices.Length; i++)
        {
            string context = item.Context(i), text = item.Continuation(i), trimmed = context.TrimEnd();
            string continuation = context[trimmed.Length..] + item.Delimiter + text;
            if (!contexts.TryGetValue(trimmed, out int[]? before))
                contexts[trimmed] = before = Tokens(item, trimmed);
            int[] whole = Tokens(item, trimmed + continuation);
            int split = whole.Length > before.Length ? before.Length : before.AsSpan().CommonPrefixLength(whole);
            if (split == whole.Length)
                throw new UserException($"{item.Place}: the tokenizer makes no token of its own for the choice \"{text}\"");
            int[] tokens = whole[split..];
            choices[i] = new EncodedChoice(Started(item, before[..split]), tokens, unit switch
            {
                LengthUnit.Characters => text.EnumerateRunes().Count(),
                LengthUnit.Bytes => Encoding.UTF8.GetByteCount(text),
                _ => tokens.Length,
            });
        }

        return new EncodedItem(item.Place, choices, item.Answer);
    }

    /// <summary>Encodes the prompt of a generation task.</summary>
    public int[] Prompt(TaskItem item) => Started(item, Tokens(item, item.Context(0)));

    /// <summary>Puts the tokens before a context that prompts begin with.</summary>
    private int[] Started(TaskItem item, int[] context) => context.Length > 0 ? [.. tokenizer.PromptPrefix, .. context]
        : start.Count > 0 ? [.. start]
        : throw new UserException($"{item.Place}: the context is empty, and the model has no token that texts begin or end with; write a context");

    /// <summary>Refuses tokens of another tokenizer: their text would have other tokens.</summary>
    public void CheckTokens(string path, IReadOnlyList<EncodedItem> items)
    {
        foreach (EncodedItem item in items.Take(Compared))
        {
            foreach (int[] tokens in item.Choices.Select(choice => choice.Continuation).Prepend(item.Choices[0].Context))
            {
                if (Array.Exists(tokens, id => id >= tokenizer.VocabularySize) || !Tokens(item.Place, tokenizer.Decode(tokens)).AsSpan().SequenceEqual(tokens))
                    throw new UserException($"{item.Place} has tokens of another tokenizer than the model's; take the questions as text ({Path.GetFileNameWithoutExtension(path)}.jsonl)");
            }
        }
    }

    private int[] Tokens(TaskItem item, string text) => Tokens(item.Place, text);

    private int[] Tokens(string place, string text)
    {
        try
        {
            return tokenizer.Encode(text);
        }
        catch (UserException e)
        {
            throw new UserException($"{place}: {e.Message}", e);
        }
    }
}
