using ILGpuOptim.Data;
using ILGpuOptim.Files;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Tasks;

/// <summary>Options of reading and scoring a task.</summary>
public sealed record TaskOptions
{
    /// <summary>The name of the format of the records; null detects it from the names of their fields.</summary>
    public string? Format { get; init; }

    /// <summary>The number of questions to take from the beginning of the file; 0: all.</summary>
    [Range(0)]
    public int Limit { get; init; }

    /// <summary>The number of examples with their answers before each question.</summary>
    [Range(0, 1000)]
    public int Shots { get; init; }

    /// <summary>The file of the examples; required with <see cref="Shots"/>.</summary>
    public string? ShotsFrom { get; init; }

    /// <summary>The length by which log-probabilities are divided; null: characters, and tokens for llm.c's binary files.</summary>
    public LengthUnit? Norm { get; init; }

    /// <summary>The most tokens of a generated answer.</summary>
    [Range(1, 1 << 20)]
    public int Tokens { get; init; } = 64;

    /// <summary>A generated answer ends before any of these strings.</summary>
    public IReadOnlyList<string> Stops { get; init; } = ["\n"];
}

/// <summary>The unit of the length of a continuation.</summary>
public enum LengthUnit
{
    /// <summary>Unicode code points of the choice, as the Language Model Evaluation Harness counts them for <c>acc_norm</c>.</summary>
    Characters,

    /// <summary>Bytes of the choice in UTF-8.</summary>
    Bytes,

    /// <summary>Tokens of the continuation, as llm.c counts them.</summary>
    Tokens,
}

/// <summary>A file of questions: multiple choice, continuations, or prompts with answers.</summary>
public sealed class EvaluationTask
{
    private EvaluationTask(string path, string format, TaskKind kind)
    {
        Source = path;
        string name = Path.GetFileName(path);
        Name = name.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? Path.GetFileNameWithoutExtension(name[..^3]) : Path.GetFileNameWithoutExtension(name);
        (Format, Kind) = (format, kind);
    }

    /// <summary>The name: that of the file, without its extension.</summary>
    public string Name { get; }

    /// <summary>The file.</summary>
    public string Source { get; }

    /// <summary>The name of the format of its records.</summary>
    public string Format { get; }

    /// <summary>What is measured.</summary>
    public TaskKind Kind { get; }

    /// <summary>The number of questions.</summary>
    public int Count => Items.Count + Encoded.Count;

    /// <summary>The questions as text, after their examples.</summary>
    internal IReadOnlyList<TaskItem> Items { get; private init; } = [];

    /// <summary>The questions of a file of tokens.</summary>
    internal IReadOnlyList<EncodedItem> Encoded { get; private init; } = [];

    /// <summary>Reads a file: JSON lines, an array in .json, each also as .gz, Parquet, or llm.c's binary questions (.bin).</summary>
    /// <param name="path">The file.</param>
    /// <param name="options">The format, the number of questions and the examples; null means the defaults.</param>
    /// <exception cref="UserException">The file is damaged, or its records fit no format, or several.</exception>
    public static EvaluationTask Open(string path, TaskOptions? options = null)
    {
        options ??= new TaskOptions();
        Ranges.Check(options);
        if (options.Format is { } name && !TaskFormats.Names.Contains(name))
            throw UserException.NamingSettings($"{nameof(TaskOptions.Format):setting} {name}: there is no such format{Nearest.Question(name, TaskFormats.Names)} There are {string.Join(", ", TaskFormats.Names)}");
        if (options.Shots > 0 != options.ShotsFrom is not null)
            throw UserException.NamingSettings($"{nameof(TaskOptions.Shots):setting} and {nameof(TaskOptions.ShotsFrom):setting} belong together: give a number of examples and the file that they come from, which must not be the file of the questions");
        if (Path.GetExtension(path).Equals(".bin", StringComparison.OrdinalIgnoreCase))
            return OpenBinary(path, options);
        (TaskFormat format, IReadOnlyList<TaskItem> items) = Read(path, options.Format, options.Limit == 0 ? int.MaxValue : options.Limit);
        return new EvaluationTask(path, format.Name, format.Kind) { Items = WithExamples(items, format, options) };
    }

    private static EvaluationTask OpenBinary(string path, TaskOptions options)
    {
        if (options.Shots > 0)
            throw UserException.NamingSettings($"{path}: llm.c's questions are tokens, so examples cannot stand before them; leave out {nameof(TaskOptions.Shots):setting}");
        if (options.Format is not (null or TaskFormats.LlmC))
            throw UserException.NamingSettings($"{nameof(TaskOptions.Format):setting} {options.Format}: {path} is a .bin file, which is read as llm.c's questions only");
        IReadOnlyList<EncodedItem> items = LlmCQuestions.Read(path);
        return new EvaluationTask(path, TaskFormats.LlmC, TaskKind.Choice) { Encoded = options.Limit == 0 ? items : [.. items.Take(options.Limit)] };
    }

    private static (TaskFormat Format, IReadOnlyList<TaskItem> Items) Read(string path, string? name, int limit)
    {
        TaskFormat? format = null;
        var items = new List<TaskItem>();
        foreach (JsonFields record in TaskRecords.Read(path).Take(limit))
        {
            format ??= TaskFormats.Of(record, name);
            items.Add(format.Item(record));
        }

        return format is null ? throw new UserException($"{path}: there are no records; give a file with questions") : (format, items);
    }

    /// <summary>The questions, each after the first examples of its group.</summary>
    private static IReadOnlyList<TaskItem> WithExamples(IReadOnlyList<TaskItem> items, TaskFormat format, TaskOptions options)
    {
        if (options.ShotsFrom is not { } path)
            return [.. items.Select(item => item.After([]))];
        (TaskFormat other, IReadOnlyList<TaskItem> examples) = Read(path, options.Format, int.MaxValue);
        if (other.Name != format.Name)
            throw UserException.NamingSettings($"{nameof(TaskOptions.ShotsFrom):setting} {path}: the examples are of the format {other.Name}, the questions of {format.Name}");
        ILookup<string, TaskItem> groups = examples.ToLookup(example => example.Group);
        return [.. items.Select(item => groups[item.Group].Count() >= options.Shots ? item.After(groups[item.Group].Take(options.Shots))
            : throw UserException.NamingSettings($"{nameof(TaskOptions.ShotsFrom):setting} {path}: there are {groups[item.Group].Count()} examples{(item.Group.Length > 0 ? $" of {item.Group}" : "")}, fewer than {options.Shots}"))];
    }
}
