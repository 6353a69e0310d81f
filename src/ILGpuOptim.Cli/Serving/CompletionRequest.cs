using System.Text.Json;
using ILGpuOptim.Chat;
using ILGpuOptim.Data;
using ILGpuOptim.Data.Conversations;
using ILGpuOptim.Files;
using ILGpuOptim.Generation;
using Microsoft.AspNetCore.Http;

namespace ILGpuOptim.Cli.Serving;

/// <summary>
/// A request for completions. Every field of OpenAI's API is either applied or, if its value would change the answer, refused by name; top_k, min_p and
/// repetition_penalty are accepted too, under the names of other servers.
/// </summary>
internal sealed class CompletionRequest
{
    /// <summary>Fields that do not change the answer.</summary>
    private static readonly string[] Ignored = ["user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "parallel_tool_calls"];

    /// <summary>Fields that are refused unless they have a value without effect.</summary>
    private static readonly string[] Unsupported =
    [
        "frequency_penalty", "presence_penalty", "logit_bias", "top_logprobs", "tools", "tool_choice", "functions", "function_call", "suffix", "echo", "audio", "prediction", "reasoning_effort",
        "verbosity", "web_search_options",
    ];

    private CompletionRequest(CompletionOptions options) => Options = options;

    /// <summary>True for <c>/v1/chat/completions</c>.</summary>
    public bool IsChat { get; private init; }

    /// <summary>The prompts, in tokens; one for a conversation.</summary>
    public required IReadOnlyList<int[]> Prompts { get; init; }

    /// <summary>The conversation; empty for texts.</summary>
    public IReadOnlyList<ChatMessage> Messages { get; private init; } = [];

    /// <summary>How to answer.</summary>
    public CompletionOptions Options { get; }

    /// <summary>Sends the answer as it is written.</summary>
    public bool Streams { get; private init; }

    /// <summary>With <see cref="Streams"/>: sends the number of tokens at the end.</summary>
    public bool SendsUsage { get; private init; }

    /// <summary>Reads a request.</summary>
    /// <param name="body">The JSON.</param>
    /// <param name="isChat">True for <c>/v1/chat/completions</c>.</param>
    /// <param name="model">The model.</param>
    /// <param name="name">Its name.</param>
    /// <exception cref="ApiException">The model has another name, or no chat template.</exception>
    /// <exception cref="UserException">A field is missing, damaged or not supported.</exception>
    public static CompletionRequest Read(byte[] body, bool isChat, ChatModel model, string name)
    {
        JsonFields fields = JsonFields.Parse(body, "request");
        if (fields.Text("model") is { } wanted && wanted != name)
            throw new ApiException(StatusCodes.Status404NotFound, $"there is no model \"{wanted}\"; this server has \"{name}\"", "model_not_found", "model");
        if (isChat && model.Template is null)
            throw new ApiException(StatusCodes.Status400BadRequest, "the model has no chat template, so it cannot answer conversations; use /v1/completions, or start the server with --chat-template");
        fields.Ignore(Ignored);
        foreach (string field in Unsupported)
            fields.Only(field, HasNoEffect, "the field is not supported; leave it out");
        fields.Only("response_format", value => value.ValueKind == JsonValueKind.Object && value.TryGetProperty("type", out JsonElement type) && type.ValueEquals("text"), "only text is supported; leave it out");
        fields.Only("modalities", value => value.ValueKind == JsonValueKind.Array && value.EnumerateArray().All(item => item.ValueEquals("text")), "only text is supported; leave it out");
        bool streams = fields.Flag("stream") ?? false, logProbabilities = isChat ? fields.Flag("logprobs") ?? false : fields.Element("logprobs") is not null;
        if (!isChat)
            fields.Only("logprobs", value => value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int count) && count == 0, "other probable tokens are not supported; give 0 for those of the tokens drawn");
        CompletionOptions options = OptionsOf(fields, isChat, logProbabilities);
        fields.Only("best_of", value => value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int count) && count == options.Count, "it must equal n; leave it out");
        bool sendsUsage = false;
        if (fields.Object("stream_options") is { } stream)
        {
            if (!streams)
                throw fields.Error("stream_options", "is only for requests with stream = true; leave it out");
            sendsUsage = stream.Flag("include_usage") ?? false;
            stream.Ignore("include_obfuscation");
            stream.Finish();
        }

        IReadOnlyList<ChatMessage> messages = isChat ? MessagesOf(fields) : [];
        IReadOnlyList<int[]> prompts = isChat ? [model.PromptOf(messages)] : PromptsOf(fields, model.Tokenizer);
        fields.Finish();
        return new CompletionRequest(options) { IsChat = isChat, Prompts = prompts, Messages = messages, Streams = streams, SendsUsage = sendsUsage };
    }

    private static CompletionOptions OptionsOf(JsonFields fields, bool isChat, bool logProbabilities)
    {
        double temperature = Number(fields, "temperature", 1, 0, 2), topP = Number(fields, "top_p", 1, 0, 1), minP = Number(fields, "min_p", 0, 0, 1);
        int? newer = fields.Int("max_completion_tokens"), older = fields.Int("max_tokens"), most = newer ?? older ?? (isChat ? null : 16);
        string field = newer is null ? "max_tokens" : "max_completion_tokens";
        if (most < 1)
            throw fields.Error(field, $"is {most}; it must be at least 1");
        if (newer is not null && older is not null && newer != older)
            throw fields.Error("max_tokens", $"is {older}, but max_completion_tokens is {newer}; give one of the two");
        int count = fields.Int("n") ?? 1, topK = fields.Int("top_k") ?? 0;
        if (count is < 1 or > 128)
            throw fields.Error("n", $"is {count}; it must be from 1 to 128");
        if (topK < 0)
            throw fields.Error("top_k", $"is {topK}; it must be at least 0");
        JsonElement? seed = fields.Element("seed");
        if (seed is { } given && !(given.ValueKind == JsonValueKind.Number && given.TryGetInt64(out _)))
            throw fields.Error("seed", $"is {JsonFields.Describe(given)}; it must be an integer");
        IReadOnlyList<string> stops = fields.Element("stop") switch
        {
            null => [],
            { ValueKind: JsonValueKind.String } text => [fields.Text("stop", text)],
            _ => fields.Texts("stop")!,
        };
        return new CompletionOptions
        {
            MaxTokens = most,
            Count = count,
            Stops = stops,
            Sampling = new SamplingOptions
            {
                Temperature = temperature,
                TopP = topP,
                MinP = minP,
                TopK = topK,
                RepetitionPenalty = Number(fields, "repetition_penalty", 1, 0.01, 100),
                Seed = seed is { } value ? unchecked((ulong)value.GetInt64()) : (ulong)Random.Shared.NextInt64(),
                LogProbabilities = logProbabilities,
            },
        };
    }

    private static double Number(JsonFields fields, string name, double otherwise, double least, double most)
    {
        double value = fields.Number(name) ?? otherwise;
        return value >= least && value <= most ? value : throw fields.Error(name, $"is {value}; it must be from {least} to {most}");
    }

    private static List<ChatMessage> MessagesOf(JsonFields fields)
    {
        List<ChatMessage> messages = [.. (fields.Objects("messages") ?? throw fields.Error("messages", "is missing")).Select(item => Conversation.ReadMessage(item, out _))];
        return messages.Count > 0 ? messages : throw fields.Error("messages", "is empty; give at least one message");
    }

    /// <summary>The prompts: a text, several texts, or token ids.</summary>
    private static IReadOnlyList<int[]> PromptsOf(JsonFields fields, ITokenizer tokenizer)
    {
        int[] Encode(string text) => [.. tokenizer.PromptPrefix, .. tokenizer.Encode(text)];
        JsonElement prompt = fields.Element("prompt") ?? throw fields.Error("prompt", "is missing");
        if (prompt.ValueKind == JsonValueKind.String)
            return [Encode(fields.Text("prompt", prompt))];
        JsonElement[] items = [.. fields.Array("prompt")!];
        if (items.Length == 0)
            throw fields.Error("prompt", "is empty; give a text");
        int[] Ids(JsonElement ids) => [.. ids.EnumerateArray().Select(id => id.ValueKind == JsonValueKind.Number && id.TryGetInt32(out int value) ? value
            : throw fields.Error("prompt", $"has {JsonFields.Describe(id)} where there should be a token id"))];
        return items[0].ValueKind switch
        {
            JsonValueKind.Number => [Ids(prompt)],
            JsonValueKind.Array => [.. items.Select((item, i) => item.ValueKind == JsonValueKind.Array ? Ids(item) : throw fields.Error($"prompt[{i}]", $"is {JsonFields.Describe(item)}; all prompts must be lists of token ids"))],
            _ => [.. items.Select((item, i) => Encode(fields.Text($"prompt[{i}]", item)))],
        };
    }

    private static bool HasNoEffect(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Number => value.GetDouble() == 0,
        JsonValueKind.False => true,
        JsonValueKind.Array => value.GetArrayLength() == 0,
        JsonValueKind.Object => !value.EnumerateObject().Any(),
        JsonValueKind.String => value.GetString() is "" or "none",
        _ => false,
    };
}
