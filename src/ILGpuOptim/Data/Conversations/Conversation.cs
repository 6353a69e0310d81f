using System.Text.Json;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Conversations;

/// <summary>A conversation to train on.</summary>
/// <param name="Messages">The messages.</param>
/// <param name="IsTrained">For each message: true if it is an answer that is trained on.</param>
/// <param name="Place">The file and line, for messages.</param>
internal sealed record Conversation(IReadOnlyList<ChatMessage> Messages, IReadOnlyList<bool> IsTrained, string Place)
{
    private const string MessagesField = "messages", PromptField = "prompt", CompletionField = "completion";

    /// <summary>Fields of a record that would change the text.</summary>
    private static readonly string[] Unsupported = ["tools", "functions", "documents", "chat_template_kwargs", "system"];

    /// <summary>True for a record with <c>messages</c>, or with <c>prompt</c> and <c>completion</c>, that is no <see cref="PreferencePair"/>.</summary>
    public static bool IsRecord(JsonElement record) => record.ValueKind == JsonValueKind.Object && !PreferencePair.IsRecord(record)
        && (record.TryGetProperty(MessagesField, out _) || (record.TryGetProperty(PromptField, out _) && record.TryGetProperty(CompletionField, out _)));

    /// <summary>Reads a record.</summary>
    /// <param name="record">The record: <c>messages</c>, or <c>prompt</c> and <c>completion</c>, each a text or a list of messages.</param>
    /// <param name="place">The file and line, for messages.</param>
    /// <param name="ignored">Receives the names of fields that are not used.</param>
    /// <exception cref="UserException">A field is missing, damaged or not supported.</exception>
    public static Conversation Read(JsonElement record, string place, ISet<string> ignored)
    {
        var fields = new JsonFields(record, place, "record");
        CheckSupported(fields);
        List<(ChatMessage Message, bool IsTrained)> messages;
        if (fields.Has(MessagesField))
        {
            if (fields.Has(PromptField) || fields.Has(CompletionField))
                throw fields.Error(MessagesField, $"stands beside {PromptField} or {CompletionField}; give one of the two forms");
            messages = ReadMessages(fields, MessagesField);
        }
        else
        {
            if (!fields.Has(PromptField) || !fields.Has(CompletionField))
                throw new UserException($"{place}: the record has neither {MessagesField} nor {PromptField} with {CompletionField}");
            messages = [.. ReadPart(fields, PromptField, "user").Select(item => (item.Message, false)), .. ReadPart(fields, CompletionField, ChatMessage.Assistant)];
        }

        ignored.UnionWith(fields.Unread.Where(field => field.Value.ValueKind != JsonValueKind.Null).Select(field => field.Key));
        bool[] trained = [.. messages.Select(item => item.IsTrained)];
        return trained.Contains(true) ? new Conversation([.. messages.Select(item => item.Message)], trained, place)
            : throw new UserException($"{place}: there is no message of the assistant to train on; remove the line");
    }

    /// <summary>Reads messages of a request or a record.</summary>
    /// <param name="message">An object with <c>role</c> and <c>content</c>, which is a text or a list of text parts.</param>
    /// <param name="weight">The field <c>weight</c>, 0 or 1; 1 if it is missing.</param>
    /// <exception cref="UserException">A field is missing, damaged or not supported.</exception>
    public static ChatMessage ReadMessage(JsonFields message, out int weight)
    {
        string role = message.RequiredText("role");
        if (role.Length == 0)
            throw message.Error("role", "is empty; give user, assistant or system");
        weight = message.Int("weight") ?? 1;
        if (weight is not (0 or 1))
            throw message.Error("weight", $"is {weight}; it must be 0 or 1");
        string content = message.Element("content") switch
        {
            null => throw message.Error("content", "is missing; messages without text (such as calls of tools) are not supported"),
            { ValueKind: JsonValueKind.Array } => string.Concat(message.Objects("content")!.Select(TextOf)),
            _ => message.RequiredText("content"),
        };
        foreach ((string name, JsonElement value) in message.Unread)
        {
            if (value.ValueKind != JsonValueKind.Null && !(value.ValueKind == JsonValueKind.Array && value.GetArrayLength() == 0))
                throw message.Error(name, $"is {JsonFields.Describe(value)}: the field is not supported in messages; only role, content and weight are");
        }

        return new ChatMessage(role, content);
    }

    private static string TextOf(JsonFields part)
    {
        part.Only("type", value => value.ValueEquals("text"), "only parts of type \"text\" are supported");
        string text = part.RequiredText("text");
        part.Finish();
        return text;
    }

    /// <summary>Refuses the fields of a record that would change the text.</summary>
    /// <exception cref="UserException">There is one.</exception>
    internal static void CheckSupported(JsonFields fields)
    {
        foreach (string name in Unsupported)
            fields.Only(name, value => value.ValueKind == JsonValueKind.Array && value.GetArrayLength() == 0, "the field is not supported; remove it, and write what it says into the messages");
    }

    /// <summary>Reads a field that is a text or a list of messages.</summary>
    /// <param name="fields">The record.</param>
    /// <param name="name">The field.</param>
    /// <param name="role">The role of a text.</param>
    /// <returns>Its messages; those of the assistant are trained on unless their weight is 0.</returns>
    internal static List<(ChatMessage Message, bool IsTrained)> ReadPart(JsonFields fields, string name, string role) =>
        fields.Element(name)!.Value.ValueKind == JsonValueKind.Array ? ReadMessages(fields, name) : [(new ChatMessage(role, fields.RequiredText(name)), role == ChatMessage.Assistant)];

    private static List<(ChatMessage Message, bool IsTrained)> ReadMessages(JsonFields fields, string name)
    {
        var messages = new List<(ChatMessage Message, bool IsTrained)>();
        foreach (JsonFields item in fields.Objects(name)!)
        {
            ChatMessage message = ReadMessage(item, out int weight);
            messages.Add((message, message.IsAnswer && weight == 1));
        }

        return messages.Count > 0 ? messages : throw fields.Error(name, "has no message; remove the line");
    }
}
