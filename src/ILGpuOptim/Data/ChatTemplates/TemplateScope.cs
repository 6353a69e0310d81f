using System.Text;

namespace ILGpuOptim.Data.ChatTemplates;

/// <summary>One rendering of a template: its output so far.</summary>
/// <param name="source">The template's name, for messages.</param>
internal sealed class TemplateRendering(string source)
{
    /// <summary>The most characters of an output.</summary>
    private const int MaxOutput = 1 << 26;

    /// <summary>The most calls of macros within each other.</summary>
    private const int MaxDepth = 200;

    private int depth, captures;

    /// <summary>The template's name.</summary>
    public string Source => source;

    /// <summary>The text written so far.</summary>
    public StringBuilder Output { get; private set; } = new();

    /// <summary>The starts and ends, in the output, of <c>{% generation %}</c> blocks.</summary>
    public List<(int Start, int End)> Generated { get; } = [];

    /// <summary>Writes text.</summary>
    public void Write(string text)
    {
        if (Output.Length + (long)text.Length > MaxOutput)
            throw new TemplateValueException($"the output is longer than {MaxOutput:N0} characters");
        Output.Append(text);
    }

    /// <summary>Runs an action and returns what it wrote.</summary>
    public string Capture(Action write)
    {
        if (depth++ == MaxDepth)
            throw new TemplateValueException($"macros call each other more than {MaxDepth} deep");
        StringBuilder outer = Output;
        Output = new StringBuilder();
        captures++;
        try
        {
            write();
            return Output.ToString();
        }
        finally
        {
            (Output, depth) = (outer, depth - 1);
            captures--;
        }
    }

    /// <summary>Runs the body of a <c>{% generation %}</c> block and records where its text is.</summary>
    /// <exception cref="TemplateValueException">The block is within a macro or a set block, so its place in the output is unknown.</exception>
    public void Generate(Action write)
    {
        if (captures > 0)
            throw new TemplateValueException("{% generation %} within a macro or a set block is not supported; write it in the main part of the template");
        int start = Output.Length;
        write();
        Generated.Add((start, Output.Length));
    }
}

/// <summary>The variables of a part of a template: assignments stay within it, reads go on to the enclosing scopes.</summary>
/// <param name="rendering">The rendering.</param>
/// <param name="parent">The enclosing scope; null for the outermost.</param>
internal sealed class TemplateScope(TemplateRendering rendering, TemplateScope? parent = null)
{
    private readonly Dictionary<string, object?> variables = [];

    /// <summary>The rendering.</summary>
    public TemplateRendering Rendering => rendering;

    /// <summary>A scope within this one.</summary>
    public TemplateScope Inner() => new(rendering, this);

    /// <summary>The value of a variable; <see cref="TemplateUndefined"/> if it has none.</summary>
    public object? Find(string name)
    {
        for (TemplateScope? scope = this; scope is not null; scope = scope.Parent)
        {
            if (scope.variables.TryGetValue(name, out object? value))
                return value;
        }

        return new TemplateUndefined($"'{name}'");
    }

    /// <summary>Assigns a variable of this scope.</summary>
    public void Set(string name, object? value) => variables[name] = value;

    private TemplateScope? Parent => parent;
}
