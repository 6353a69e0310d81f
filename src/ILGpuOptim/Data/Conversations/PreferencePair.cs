using System.Text.Json;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Conversations;

/// <summary>A conversation with two answers, one of which is preferred.</summary>
/// <param name="Chosen">The prompt with the preferred answer.</param>
/// <param name="Rejected">The prompt with the other answer.</param>
internal sealed record PreferencePair(Conversation Chosen, Conversation Rejected)
{
    private const string PromptField = "prompt", ChosenField = "chosen", RejectedField = "rejected";

    /// <summary>True for a record with <c>chosen</c> and <c>rejected</c>.</summary>
    public static bool IsRecord(JsonElement record) =>
        record.ValueKind == JsonValueKind.Object && record.TryGetProperty(ChosenField, out _) && record.TryGetProperty(RejectedField, out _);

    /// <summary>
    /// Reads a record: <c>prompt</c>, <c>chosen</c> and <c>rejected</c>, each a text or a list of messages. Lists of whole conversations may begin with the
    /// messages of the prompt; without a prompt, it is what they have in common.
    /// </summary>
    /// <param name="record">The record.</param>
    /// <param name="place">The file and line, for messages.</param>
    /// <param name="ignored">Receives the names of fields that are not used.</param>
    /// <exception cref="UserException">A field is missing, damaged or not supported.</exception>
    public static PreferencePair Read(JsonElement record, string place, ISet<string> ignored)
    {
        var fields = new JsonFields(record, place, "record");
        Conversation.CheckSupported(fields);
        foreach (string name in (ReadOnlySpan<string>)[ChosenField, RejectedField])
        {
            if (!fields.Has(name))
                throw new UserException($"{place}: the record of a pair has no {name}; it needs {ChosenField} and {RejectedField}, and has {string.Join(", ", fields.Names)}");
        }

        List<(ChatMessage Message, bool IsTrained)>? prompt = fields.Has(PromptField) ? Conversation.ReadPart(fields, PromptField, "user") : null;
        List<(ChatMessage Message, bool IsTrained)> chosen = ReadAnswer(fields, ChosenField, prompt), rejected = ReadAnswer(fields, RejectedField, prompt);
        int common = prompt?.Count ?? chosen.Zip(rejected).TakeWhile(pair => pair.First.Message == pair.Second.Message).Count();

        // Equal conversations have their last messages as answers.
        common = Math.Min(common, Math.Min(chosen.Count, rejected.Count) - 1);
        if (common == 0)
            throw fields.Error(ChosenField, $"and {RejectedField} begin with different messages, so there is no prompt; add {PromptField}, or the messages before the answers");
        ignored.UnionWith(fields.Unread.Where(field => field.Value.ValueKind != JsonValueKind.Null).Select(field => field.Key));
        return new PreferencePair(Of(ChosenField, chosen), Of(RejectedField, rejected));

        Conversation Of(string name, List<(ChatMessage Message, bool IsTrained)> messages)
        {
            bool[] trained = [.. messages.Select((item, i) => i >= common && item.IsTrained)];
            return trained.Contains(true) ? new Conversation([.. messages.Select(item => item.Message)], trained, place)
                : throw fields.Error(name, "has no message of the assistant after the prompt; remove the line");
        }
    }

    /// <summary>The prompt and an answer.</summary>
    private static List<(ChatMessage Message, bool IsTrained)> ReadAnswer(JsonFields fields, string name, List<(ChatMessage Message, bool IsTrained)>? prompt)
    {
        List<(ChatMessage Message, bool IsTrained)> answer = Conversation.ReadPart(fields, name, ChatMessage.Assistant);
        if (prompt is null)
        {
            return fields.Element(name)!.Value.ValueKind == JsonValueKind.Array ? answer
                : throw fields.Error(name, $"is a text, and the record has no {PromptField}; split the text into {PromptField} and answers, or give lists of messages");
        }

        if (answer.Take(prompt.Count).Select(item => item.Message).SequenceEqual(prompt.Select(item => item.Message)))
            return answer;
        return answer[0].Message.IsAnswer ? [.. prompt, .. answer]
            : throw fields.Error(name, $"begins with a message of the role {answer[0].Message.Role}, but not with the messages of {PromptField}; give the answer alone, or the same messages before it");
    }
}
