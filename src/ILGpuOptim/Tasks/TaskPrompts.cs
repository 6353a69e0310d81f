using System.Text.Json;
using System.Text.RegularExpressions;
using ILGpuOptim.Files;

namespace ILGpuOptim.Tasks;

/// <summary>The questions that records make. The prompts are those of the Language Model Evaluation Harness; docs/evaluation.md shows them.</summary>
internal static partial class TaskPrompts
{
    /// <summary>The usual frame of a question.</summary>
    public static string Question(string text) => $"Question: {text}\nAnswer:";

    /// <summary>This project's own multiple choice: context, choices, the index of the answer.</summary>
    public static TaskItem Choices(JsonFields record)
    {
        string context = record.RequiredText("context");
        IReadOnlyList<string> choices = Strings(record, "choices");
        string? delimiter = record.Text("delimiter");

        // A border that has its space already gets no second one.
        bool spaced = context.Length == 0 || char.IsWhiteSpace(context[^1]) || choices.All(choice => choice.Length > 0 && char.IsWhiteSpace(choice[0]));
        return Shared(context, choices, Index(record, "answer", choices.Count)) with { Delimiter = delimiter ?? (spaced ? "" : " ") };
    }

    /// <summary>This project's own generation: a prompt, and the accepted answer or answers.</summary>
    public static TaskItem Generation(JsonFields record)
    {
        string prompt = record.RequiredText("prompt");
        bool isList = record.Element("answer") is { ValueKind: JsonValueKind.Array };
        IReadOnlyList<string> answers = isList ? Strings(record, "answer") : [record.RequiredText("answer")];
        return new TaskItem { Contexts = [prompt], Continuations = answers, Delimiter = prompt.Length == 0 || char.IsWhiteSpace(prompt[^1]) ? "" : " " };
    }

    /// <summary>Choices with labels beside the question: {"text": […], "label": […]}.</summary>
    public static TaskItem Labelled(JsonFields record, Func<string, string> frame, string question = "question")
    {
        JsonFields choices = record.RequiredObject("choices");
        IReadOnlyList<string> texts = Strings(choices, "text"), labels = Strings(choices, "label");
        choices.Finish();
        if (texts.Count != labels.Count)
            throw choices.Error("label", $"has {labels.Count} entries for {texts.Count} texts");
        return Shared(frame(record.RequiredText(question)), texts, Labelled(record, labels));
    }

    /// <summary>Choices within the question: {"stem": …, "choices": [{"text": …, "label": …}]}.</summary>
    public static TaskItem NestedChoices(JsonFields record, Func<string, string> frame)
    {
        JsonFields question = record.RequiredObject("question");
        string stem = question.RequiredText("stem");
        List<string> texts = [], labels = [];
        foreach (JsonFields choice in question.Objects("choices") ?? throw question.Error("choices", "is missing"))
        {
            texts.Add(choice.RequiredText("text"));
            labels.Add(choice.RequiredText("label"));
            choice.Finish();
        }

        question.Finish();
        return Shared(frame(stem), texts, Labelled(record, labels));
    }

    public static TaskItem CommonsenseQa(JsonFields record)
    {
        TaskItem item = Labelled(record, text => text.Trim());
        return item with { Contexts = [Lettered("Question: " + item.Contexts[0], item.Continuations)], Continuations = Letters(record, item.Choices) };
    }

    public static TaskItem Piqa(JsonFields record) =>
        Shared(Question(record.RequiredText("goal")), [record.RequiredText("sol1"), record.RequiredText("sol2")], Index(record, "label", 2));

    public static TaskItem HellaSwag(JsonFields record)
    {
        string context = record.RequiredText("ctx_a") + " " + Capitalized(record.RequiredText("ctx_b"));
        IReadOnlyList<string> endings = Strings(record, "endings");
        return Shared(WithoutMarks($"{record.RequiredText("activity_label")}: {context}"), [.. endings.Select(WithoutMarks)], Index(record, "label", endings.Count));
    }

    /// <summary>The prompt of llm.c: the context as it is.</summary>
    public static TaskItem PlainHellaSwag(JsonFields record)
    {
        IReadOnlyList<string> endings = Strings(record, "endings");
        return Shared(record.RequiredText("ctx"), endings, Index(record, "label", endings.Count));
    }

    /// <summary>Partial evaluation (Trinh and Le, 2018): the option stands in the context, and the rest of the sentence is the continuation.</summary>
    public static TaskItem WinoGrande(JsonFields record)
    {
        string sentence = record.RequiredText("sentence");
        int blank = sentence.IndexOf('_', StringComparison.Ordinal);
        if (blank < 0 || sentence.IndexOf('_', blank + 1) >= 0)
            throw record.Error("sentence", "must have one blank, written as _");
        return new TaskItem
        {
            Contexts = [sentence[..blank] + record.RequiredText("option1"), sentence[..blank] + record.RequiredText("option2")],
            Continuations = [sentence[(blank + 1)..].Trim()],
            Answer = Index(record, "answer", 2, first: 1),
        };
    }

    public static TaskItem BoolQ(JsonFields record, bool? answer) => Shared(
        $"{record.RequiredText("passage")}\nQuestion: {record.RequiredText("question")}?\nAnswer:", ["no", "yes"], answer is { } isTrue ? (isTrue ? 1 : 0) : Index(record, "label", 2));

    public static TaskItem Copa(JsonFields record)
    {
        string relation = record.RequiredText("question"), premise = record.RequiredText("premise").Trim();
        string connector = relation switch
        {
            "cause" => "because",
            "effect" => "therefore",
            _ => throw record.Error("question", $"is \"{relation}\"; it must be cause or effect"),
        };
        string[] choices = [record.RequiredText("choice1"), record.RequiredText("choice2")];
        return Shared($"{(premise.Length > 0 ? premise[..^1] : premise)} {connector}", [.. choices.Select(text => text.Length > 0 ? char.ToLowerInvariant(text[0]) + text[1..] : text)], Index(record, "label", 2));
    }

    public static TaskItem SciQ(JsonFields record) => Shared(
        $"{record.RequiredText("support").TrimStart()}\n{Question(record.RequiredText("question"))}",
        [.. ((string[])["distractor1", "distractor2", "distractor3", "correct_answer"]).Select(record.RequiredText)],
        answer: 3);

    public static TaskItem Mmlu(JsonFields record)
    {
        IReadOnlyList<string> choices = Strings(record, "choices");
        string? subject = record.Text("subject");
        int answer = record.Element("answer") is { ValueKind: JsonValueKind.String } text && text.GetString() is [>= 'A' and <= 'Z'] letter && letter[0] - 'A' < choices.Count
            ? letter[0] - 'A' : Index(record, "answer", choices.Count);
        return Shared(Lettered(record.RequiredText("question").Trim(), choices), Letters(record, choices.Count), answer) with
        {
            Heading = subject is null ? "" : $"The following are multiple choice questions (with answers) about {subject.Replace('_', ' ')}.\n\n",
            Group = subject ?? "",
        };
    }

    /// <summary>The last word of a text, given the words before it.</summary>
    public static TaskItem Lambada(JsonFields record)
    {
        string text = record.RequiredText("text");
        int space = text.LastIndexOf(' ');
        return space > 0 && space < text.Length - 1 ? Shared(text[..space], [text[(space + 1)..]], 0)
            : throw record.Error("text", "must end with a word after a space");
    }

    private static TaskItem Shared(string context, IReadOnlyList<string> choices, int answer) => new() { Contexts = [context], Continuations = choices, Answer = answer };

    private static string Lettered(string question, IReadOnlyList<string> choices) =>
        $"{question}\n{string.Concat(choices.Select((choice, i) => $"{(char)('A' + i)}. {choice}\n"))}Answer:";

    private static IReadOnlyList<string> Letters(JsonFields record, int count) =>
        count <= 26 ? [.. Enumerable.Range('A', count).Select(letter => $"{(char)letter}")] : throw record.Error("choices", $"has {count} entries; there are 26 letters");

    private static IReadOnlyList<string> Strings(JsonFields record, string name)
    {
        IReadOnlyList<string> texts = record.Texts(name) ?? throw record.Error(name, "is missing");
        return texts.FirstOrDefault(text => text.Length == 0) is null ? texts : throw record.Error(name, "has an empty text; remove the record, or fill it in");
    }

    private static int Labelled(JsonFields record, IReadOnlyList<string> labels)
    {
        string key = record.RequiredText("answerKey").Trim();
        int[] found = [.. Enumerable.Range(0, labels.Count).Where(i => labels[i] == key)];
        return found.Length == 1 ? found[0] : throw record.Error("answerKey", $"is \"{key}\"; it must be one of the labels {string.Join(", ", labels)}");
    }

    /// <summary>The index of the answer: an integer, or its digits in a string.</summary>
    private static int Index(JsonFields record, string name, int count, int first = 0)
    {
        JsonElement value = record.Element(name) ?? throw record.Error(name, "is missing");
        bool isNumber = value.ValueKind == JsonValueKind.Number ? value.TryGetInt32(out int index) : int.TryParse(record.Text(name, value), out index);
        if (value.ValueKind == JsonValueKind.String && value.GetString() is "" || (isNumber && index == -1))
            throw record.Error(name, $"is {JsonFields.Describe(value)}: the answer is withheld, as in test sets; use a validation set");
        return isNumber && index >= first && index < first + count ? index - first
            : throw record.Error(name, $"is {JsonFields.Describe(value)}; it must be the number of a choice, from {first} to {first + count - 1}");
    }

    /// <summary>The first letter in upper case, the others in lower case.</summary>
    private static string Capitalized(string text) => text.Length == 0 ? text : char.ToUpperInvariant(text[0]) + text[1..].ToLowerInvariant();

    /// <summary>Without the marks of WikiHow, such as [header], [title] and [step].</summary>
    private static string WithoutMarks(string text) => Mark().Replace(text.Trim().Replace(" [title]", ". ", StringComparison.Ordinal), "").Replace("  ", " ", StringComparison.Ordinal);

    [GeneratedRegex(@"\[.*?\]")]
    private static partial Regex Mark();
}
