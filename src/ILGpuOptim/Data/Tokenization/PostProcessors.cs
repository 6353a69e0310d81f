using System.Text.Json;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// Reads post-processors of <c>tokenizer.json</c>. Only the ids that they put before a single text are used, as the prefix of prompts:
/// training text is encoded without them, and nothing is appended to a prompt.
/// </summary>
internal static class PostProcessors
{
    /// <summary>The ids before a single text; empty if there are none.</summary>
    /// <param name="processor">The post-processor.</param>
    /// <param name="idOf">Returns the id of a token.</param>
    /// <exception cref="UserException">The type is unknown, or the post-processor is damaged.</exception>
    public static IReadOnlyList<int> ReadPrefix(JsonFields processor, Func<string, int?> idOf)
    {
        IReadOnlyList<int> prefix;
        string type = processor.RequiredText("type");

        // These change the reported offsets of tokens, not the ids. Some files have them beside a template.
        processor.Ignore("add_prefix_space", "trim_offsets", "use_regex");
        switch (type)
        {
            case "Sequence":
                // Each processor adds its tokens around the output of the previous ones.
                prefix = [.. (processor.Objects("processors") ?? throw processor.Error("processors", "is missing")).Reverse().SelectMany(step => ReadPrefix(step, idOf))];
                break;
            case "ByteLevel":
                prefix = [];
                break;
            case "TemplateProcessing":
                prefix = Template(processor, idOf);
                break;
            case "BertProcessing" or "RobertaProcessing":
                prefix = [Pair(processor, "cls")];
                Pair(processor, "sep");
                break;
            default:
                throw processor.Error("type", $"is \"{type}\"; post-processors are Sequence, ByteLevel, TemplateProcessing, BertProcessing and RobertaProcessing");
        }

        processor.Finish();
        return prefix;
    }

    private static List<int> Template(JsonFields processor, Func<string, int?> idOf)
    {
        // Pairs of texts are not supported.
        processor.Ignore("pair");
        JsonFields? special = processor.Object("special_tokens");
        var prefix = new List<int>();
        bool inPrefix = true;
        foreach (JsonFields piece in processor.Objects("single") ?? throw processor.Error("single", "is missing"))
        {
            JsonFields? token = piece.Object("SpecialToken"), sequence = piece.Object("Sequence");
            piece.Finish();
            if ((token is null) == (sequence is null))
                throw new UserException($"{piece.Source}: {piece.Path} must be a SpecialToken or a Sequence");
            JsonFields fields = (token ?? sequence)!;
            string name = fields.RequiredText("id");
            fields.Ignore("type_id");
            fields.Finish();
            if (sequence is not null)
            {
                if (name != "A" || !inPrefix)
                    throw fields.Error("id", "must be \"A\", once: a single text has one sequence");
                inPrefix = false;
                continue;
            }

            IReadOnlyList<int> ids = Ids(special?.Object(name), name, idOf) ?? throw fields.Error("id", $"is \"{name}\", which is neither in special_tokens nor a token");
            if (inPrefix)
                prefix.AddRange(ids);
        }

        if (inPrefix)
            throw processor.Error("single", "has no Sequence \"A\", so it would drop the text");
        return prefix;
    }

    private static IReadOnlyList<int>? Ids(JsonFields? special, string name, Func<string, int?> idOf)
    {
        if (special is null)
            return idOf(name) is { } id ? [id] : null;
        special.Ignore("id", "tokens");
        IReadOnlyList<JsonElement> ids = special.Array("ids") ?? throw special.Error("ids", "is missing");
        special.Finish();
        return [.. ids.Select(id => id.ValueKind == JsonValueKind.Number && id.TryGetInt32(out int value) ? value : throw special.Error("ids", $"has {JsonFields.Describe(id)}; ids are integers"))];
    }

    private static int Pair(JsonFields processor, string name) =>
        processor.Array(name) is [{ ValueKind: JsonValueKind.String }, { ValueKind: JsonValueKind.Number } id] && id.TryGetInt32(out int value)
            ? value : throw processor.Error(name, "must be a token and its id");
}
