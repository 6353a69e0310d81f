using ILGpuOptim.Files;

namespace ILGpuOptim.Tasks;

/// <summary>The known formats of task records, and their detection by the names of the fields.</summary>
internal static class TaskFormats
{
    /// <summary>The name of llm.c's binary files.</summary>
    public const string LlmC = "llm.c";

    private static readonly string[] Texts = ["question", "choices", "answerKey"], Nested = ["question", "answerKey"];

    /// <summary>All formats. Several entries with one name are shapes of one format.</summary>
    public static IReadOnlyList<TaskFormat> All { get; } =
    [
        new("choices", TaskKind.Choice, ["context", "choices", "answer"], TaskPrompts.Choices) { Optional = ["delimiter"], Ignored = ["id"] },
        new("generation", TaskKind.Generation, ["prompt", "answer"], TaskPrompts.Generation) { Ignored = ["id"] },
        new("arc", TaskKind.Choice, Texts, record => TaskPrompts.Labelled(record, TaskPrompts.Question)) { Ignored = ["id"] },
        new("arc", TaskKind.Choice, Nested, record => TaskPrompts.NestedChoices(record, TaskPrompts.Question)) { Ignored = ["id"] },
        new("openbookqa", TaskKind.Choice, ["question_stem", "choices", "answerKey"], record => TaskPrompts.Labelled(record, stem => stem, "question_stem"))
        {
            Ignored = ["id", "fact1", "humanScore", "clarity", "turkIdAnonymized"],
        },
        new("openbookqa", TaskKind.Choice, Nested, record => TaskPrompts.NestedChoices(record, stem => stem)) { Ignored = ["id", "fact1", "humanScore", "clarity", "turkIdAnonymized"] },
        new("commonsense_qa", TaskKind.Choice, [.. Texts, "question_concept"], TaskPrompts.CommonsenseQa) { Ignored = ["id", "question_concept"] },
        new("piqa", TaskKind.Choice, ["goal", "sol1", "sol2", "label"], TaskPrompts.Piqa) { Ignored = ["id"] },
        new("hellaswag", TaskKind.Choice, ["activity_label", "ctx_a", "ctx_b", "endings", "label"], TaskPrompts.HellaSwag) { Ignored = ["ctx", "ind", "source_id", "split", "split_type"] },
        new("hellaswag-plain", TaskKind.Choice, ["ctx", "endings", "label"], TaskPrompts.PlainHellaSwag)
        {
            Ignored = ["activity_label", "ctx_a", "ctx_b", "ind", "source_id", "split", "split_type"],
            IsVariant = true,
        },
        new("winogrande", TaskKind.Choice, ["sentence", "option1", "option2", "answer"], TaskPrompts.WinoGrande) { Ignored = ["qID"] },
        new("boolq", TaskKind.Choice, ["question", "passage", "answer"], record => TaskPrompts.BoolQ(record, record.Flag("answer"))) { Ignored = ["title"] },
        new("boolq", TaskKind.Choice, ["question", "passage", "label"], record => TaskPrompts.BoolQ(record, null)) { Ignored = ["idx"] },
        new("copa", TaskKind.Choice, ["premise", "choice1", "choice2", "question", "label"], TaskPrompts.Copa) { Ignored = ["idx"] },
        new("sciq", TaskKind.Choice, ["question", "distractor1", "distractor2", "distractor3", "correct_answer", "support"], TaskPrompts.SciQ),
        new("mmlu", TaskKind.Choice, ["question", "choices", "answer"], TaskPrompts.Mmlu) { Optional = ["subject"] },
        new("lambada", TaskKind.Continuation, ["text"], TaskPrompts.Lambada) { Ignored = ["domain"] },
    ];

    /// <summary>The names of all formats.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. All.Select(format => format.Name).Append(LlmC).Distinct()];

    /// <summary>The format of records: the one with this name, or the only one that their fields fit.</summary>
    /// <param name="record">The first record.</param>
    /// <param name="name">The name; null detects the format.</param>
    /// <exception cref="UserException">No format fits, or several do.</exception>
    public static TaskFormat Of(JsonFields record, string? name)
    {
        TaskFormat[] named = [.. All.Where(format => name is null || format.Name == name)];
        TaskFormat[] fitting = [.. named.Where(format => format.Matches(record))];
        if (name is null && fitting.Any(format => !format.IsVariant))
            fitting = [.. fitting.Where(format => !format.IsVariant)];
        if (fitting.Length == 1)
            return fitting[0];
        if (fitting.Length > 1)
            throw UserException.NamingSettings($"{record.Source}: the fields fit several formats ({string.Join(", ", fitting.Select(format => format.Name))}); choose one with {nameof(TaskOptions.Format):setting}");
        if (record.Element("question") is { ValueKind: System.Text.Json.JsonValueKind.String } && record.Element("answer") is { ValueKind: System.Text.Json.JsonValueKind.String } && !record.Has("choices"))
            throw new UserException($"{record.Source}: a question with a free answer, as in GSM8K, has no prompt of its own; write records with the fields prompt and answer");
        TaskFormat nearest = named.MinBy(format => Missing(format, record).Count() + Unknown(format, record).Count())!;
        string[] missing = [.. Missing(nearest, record)], unknown = [.. Unknown(nearest, record)];
        string why = string.Join(" and ", ((string[])[missing.Length > 0 ? $"lacks {string.Join(", ", missing)}" : "", unknown.Length > 0 ? $"has {string.Join(", ", unknown)}" : ""]).Where(text => text.Length > 0));
        throw new UserException(name is null
            ? $"{record.Source}: the fields ({string.Join(", ", record.Names)}) fit no known format of tasks ({string.Join(", ", Names)}); for {nearest.Name}, the record {why}"
            : $"{record.Source}: the record is not of the format {name}: it {why}");
    }

    private static IEnumerable<string> Missing(TaskFormat format, JsonFields record) => format.Fields.Where(field => !record.Has(field));

    private static IEnumerable<string> Unknown(TaskFormat format, JsonFields record) =>
        record.Names.Where(name => record.Has(name) && !format.Fields.Contains(name) && !format.Optional.Contains(name) && !format.Ignored.Contains(name));
}
