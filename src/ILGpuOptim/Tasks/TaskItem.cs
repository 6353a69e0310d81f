namespace ILGpuOptim.Tasks;

/// <summary>
/// A question as text. A choice is a context and its continuation: choices share one context, or (partial evaluation) one continuation. A generation task has
/// one context, and its continuations are the accepted answers.
/// </summary>
internal sealed record TaskItem
{
    /// <summary>The text before the continuation: one for all choices, or one for each.</summary>
    public required IReadOnlyList<string> Contexts { get; init; }

    /// <summary>The text whose probability is measured: one for each choice, or one for all.</summary>
    public required IReadOnlyList<string> Continuations { get; init; }

    /// <summary>The index of the correct choice.</summary>
    public int Answer { get; init; }

    /// <summary>Stands between context and continuation. It belongs to the continuation, but its characters do not count for the length.</summary>
    public string Delimiter { get; init; } = " ";

    /// <summary>Stands once before the examples and the question.</summary>
    public string Heading { get; init; } = "";

    /// <summary>Examples of a question are of its group.</summary>
    public string Group { get; init; } = "";

    /// <summary>The file and the record, for messages.</summary>
    public string Place { get; init; } = "";

    /// <summary>The number of choices.</summary>
    public int Choices => Math.Max(Contexts.Count, Continuations.Count);

    /// <summary>The context of a choice.</summary>
    public string Context(int choice) => Contexts[Contexts.Count == 1 ? 0 : choice];

    /// <summary>The continuation of a choice, without the delimiter.</summary>
    public string Continuation(int choice) => Continuations[Continuations.Count == 1 ? 0 : choice];

    /// <summary>The question with its answer and an empty line, as an example before other questions.</summary>
    public string AsExample() => Context(Answer) + Delimiter + Continuation(Answer) + "\n\n";

    /// <summary>The question after examples.</summary>
    public TaskItem After(IEnumerable<TaskItem> examples)
    {
        string before = Heading + string.Concat(examples.Select(example => example.AsExample()));
        return this with { Contexts = [.. Contexts.Select(context => before + context)], Heading = "" };
    }
}
