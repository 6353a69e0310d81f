namespace ILGpuOptim.Ops;

/// <summary>A function that <c>check</c> finds by its name.</summary>
/// <param name="Name">Letters, digits, - and _.</param>
/// <param name="Summary">A description for people.</param>
/// <param name="Arguments">The number of arguments, one to three.</param>
/// <param name="Apply">Its operation, such as <c>(tape, x) => tape.Apply(new Gate(), x[0], x[1])</c>.</param>
public sealed record FunctionEntry(string Name, string Summary, int Arguments, Func<Tape, Tensor[], Tensor> Apply)
{
    /// <summary>The function in plain doubles, against which <c>check</c> compares the kernels; or null.</summary>
    public Func<double[], double>? Formula { get; init; }
}

/// <summary>Functions by name: all activations, and those that were added. Any thread may read and add.</summary>
public static class FunctionRegistry
{
    private static readonly Lock Adding = new();

    /// <summary>Never changed, but replaced, so that readers need no lock.</summary>
    private static volatile FunctionEntry[] added = [];

    /// <summary>All functions.</summary>
    public static IReadOnlyList<FunctionEntry> Entries => [.. ActivationNames.Names.Select(Of), .. added];

    /// <summary>Makes a function known to the tool's commands in this process.</summary>
    /// <exception cref="UserException">The name is taken or cannot be typed, or the number of arguments is not one to three.</exception>
    public static void Add(FunctionEntry entry)
    {
        using Lock.Scope scope = Adding.EnterScope();
        if (!entry.Name.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_') || !entry.Name.Any(char.IsAsciiLetter))
            throw new UserException($"\"{entry.Name}\" cannot be typed as a function's name; use letters, digits, - and _");
        if (Entries.Any(other => other.Name.Equals(entry.Name, StringComparison.OrdinalIgnoreCase)))
            throw new UserException($"there already is a function \"{entry.Name}\"; choose another name");
        if (entry.Arguments is < 1 or > 3)
            throw new UserException($"function \"{entry.Name}\" has {entry.Arguments} arguments; one to three can be checked");
        added = [.. added, entry];
    }

    /// <summary>The function of a name; null when there is none.</summary>
    public static FunctionEntry? Find(string name) => Entries.FirstOrDefault(entry => entry.Name.Equals(name, StringComparison.OrdinalIgnoreCase));

    private static FunctionEntry Of(string name)
    {
        Activation activation = ActivationNames.Find(name)!;
        return new FunctionEntry(name, "activation", 1, (tape, x) => tape.Activate(x[0], activation));
    }
}
