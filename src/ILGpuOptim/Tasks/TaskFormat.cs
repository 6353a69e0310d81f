using ILGpuOptim.Files;

namespace ILGpuOptim.Tasks;

/// <summary>What a task measures.</summary>
public enum TaskKind
{
    /// <summary>Multiple choice: the most probable continuation is the prediction.</summary>
    Choice,

    /// <summary>A given continuation, of which each token must be the most probable one.</summary>
    Continuation,

    /// <summary>Text that is generated greedily and must be equal to an answer.</summary>
    Generation,
}

/// <summary>A kind of records: their fields, which form a closed list, and the prompt that they make.</summary>
/// <param name="Name">The name.</param>
/// <param name="Kind">What is measured.</param>
/// <param name="Fields">Required fields.</param>
/// <param name="Read">Makes the question of a record.</param>
internal sealed record TaskFormat(string Name, TaskKind Kind, string[] Fields, Func<JsonFields, TaskItem> Read)
{
    /// <summary>Fields that are read if they are there.</summary>
    public string[] Optional { get; init; } = [];

    /// <summary>Fields without effect on the question.</summary>
    public string[] Ignored { get; init; } = [];

    /// <summary>True for another prompt of the records of another format, which must be asked for by name.</summary>
    public bool IsVariant { get; init; }

    /// <summary>True if records have all required fields and no unknown ones. Fields that are null count as missing.</summary>
    public bool Matches(JsonFields record) => Array.TrueForAll(Fields, record.Has) && record.Names.Where(record.Has).All(name => Fields.Contains(name) || Optional.Contains(name) || Ignored.Contains(name));

    /// <summary>The question of a record.</summary>
    /// <exception cref="UserException">A field is missing, unknown or invalid.</exception>
    public TaskItem Item(JsonFields record)
    {
        record.Ignore(Ignored);
        TaskItem item = Read(record) with { Place = record.Source };
        record.Finish();
        if (Kind == TaskKind.Choice && item.Choices < 2)
            throw new UserException($"{record.Source}: there are {item.Choices} choices; a question needs at least two");
        if (item.Continuations.Any(text => text.Length == 0))
            throw new UserException($"{record.Source}: a choice is empty; it has no probability, so remove the record or fill it in");
        return item;
    }
}
