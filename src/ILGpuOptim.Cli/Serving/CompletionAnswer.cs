using System.Text;
using ILGpuOptim.Chat;
using ILGpuOptim.Data;
using ILGpuOptim.Generation;

namespace ILGpuOptim.Cli.Serving;

/// <summary>Builds the objects of OpenAI's API from the parts of an answer.</summary>
/// <param name="request">The request.</param>
/// <param name="tokenizer">Gives the texts of tokens.</param>
/// <param name="model">The model's name.</param>
internal sealed class CompletionAnswer(CompletionRequest request, ITokenizer tokenizer, string model)
{
    private readonly string id = $"{(request.IsChat ? "chatcmpl" : "cmpl")}-{Guid.NewGuid():n}";
    private readonly long created = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
    private readonly Choice[] choices = [.. Enumerable.Range(0, request.Prompts.Count * request.Options.Count).Select(_ => new Choice())];

    /// <summary>The number of tokens read and written.</summary>
    public object Usage
    {
        get
        {
            int prompt = request.Prompts.Sum(ids => ids.Length), completion = choices.Sum(choice => choice.Tokens.Count);
            return new { prompt_tokens = prompt, completion_tokens = completion, total_tokens = prompt + completion };
        }
    }

    /// <summary>The first events of a stream.</summary>
    public IEnumerable<object> Begin() =>
        request.IsChat ? choices.Select((_, i) => Chunk([new { index = i, delta = new { role = "assistant", content = "" }, logprobs = (object?)null, finish_reason = (string?)null }])) : [];

    /// <summary>Adds a part and returns its event; null if there is nothing to send.</summary>
    /// <param name="prompt">The number of the prompt.</param>
    /// <param name="part">The part.</param>
    public object? Add(int prompt, CompletionPart part)
    {
        int index = (prompt * request.Options.Count) + part.Sample;
        Choice choice = choices[index];
        choice.Tokens.Add((part.Token, choice.Text.Length));
        choice.Text.Append(part.Text);
        choice.End = EndOf(part.End) ?? choice.End;
        if (part.Text.Length == 0 && part.End == CompletionEnd.None && !request.Options.Sampling.LogProbabilities)
            return null;
        object? logProbabilities = LogProbabilities([choice.Tokens[^1]]);
        return Chunk(request.IsChat
            ? [new { index, delta = part.Text.Length > 0 ? new { content = part.Text } : (object)new { }, logprobs = logProbabilities, finish_reason = EndOf(part.End) }]
            : [new { index, text = part.Text, logprobs = logProbabilities, finish_reason = EndOf(part.End) }]);
    }

    /// <summary>The event with the number of tokens, at the end of a stream.</summary>
    public object End() => Chunk([], Usage);

    /// <summary>The whole answer.</summary>
    public object Whole() => new
    {
        id,
        @object = request.IsChat ? "chat.completion" : "text_completion",
        created,
        model,
        choices = choices.Select((choice, i) => request.IsChat
            ? (object)new { index = i, message = new { role = "assistant", content = choice.Text.ToString(), refusal = (string?)null }, logprobs = LogProbabilities(choice.Tokens), finish_reason = choice.End }
            : new { index = i, text = choice.Text.ToString(), logprobs = LogProbabilities(choice.Tokens), finish_reason = choice.End }),
        usage = Usage,
    };

    private object Chunk(object[] parts, object? usage = null)
    {
        string kind = request.IsChat ? "chat.completion.chunk" : "text_completion";
        return request.SendsUsage ? new { id, @object = kind, created, model, choices = parts, usage } : new { id, @object = kind, created, model, choices = parts };
    }

    private object? LogProbabilities(IReadOnlyList<(GeneratedToken Token, int Place)> tokens)
    {
        if (!request.Options.Sampling.LogProbabilities)
            return null;
        string[] texts = [.. tokens.Select(token => tokenizer.Decode([token.Token.Id]))];
        if (request.IsChat)
            return new { content = tokens.Select((token, i) => new { token = texts[i], logprob = token.Token.LogProbability, bytes = Encoding.UTF8.GetBytes(texts[i]).Select(value => (int)value), top_logprobs = Array.Empty<object>() }) };
        return new { tokens = texts, token_logprobs = tokens.Select(token => token.Token.LogProbability), top_logprobs = (object?)null, text_offset = tokens.Select(token => token.Place) };
    }

    private static string? EndOf(CompletionEnd end) => end switch { CompletionEnd.Stop => "stop", CompletionEnd.Length => "length", _ => null };

    private sealed class Choice
    {
        public StringBuilder Text { get; } = new();

        public List<(GeneratedToken Token, int Place)> Tokens { get; } = [];

        public string? End { get; set; }
    }
}
