namespace ILGpuOptim.Data.ChatTemplates;

/// <summary>How a statement ends.</summary>
internal enum TemplateFlow
{
    /// <summary>The next statement follows.</summary>
    Next,

    /// <summary>The loop ends.</summary>
    Break,

    /// <summary>The next iteration of the loop follows.</summary>
    Continue,
}

/// <summary>A part of a template that writes output or changes variables.</summary>
/// <param name="Line">Its line.</param>
internal abstract record TemplateStatement(int Line)
{
    /// <summary>Runs it.</summary>
    public abstract TemplateFlow Run(TemplateScope scope);

    /// <summary>Runs statements up to the first that leaves its loop.</summary>
    public static TemplateFlow RunAll(IReadOnlyList<TemplateStatement> statements, TemplateScope scope)
    {
        foreach (TemplateStatement statement in statements)
        {
            TemplateFlow flow = statement.Run(scope);
            if (flow != TemplateFlow.Next)
                return flow;
        }

        return TemplateFlow.Next;
    }

    /// <summary>Runs an action; errors have the template's name and this line.</summary>
    protected void Checked(TemplateScope scope, Action action)
    {
        try
        {
            action();
        }
        catch (TemplateValueException e)
        {
            throw TemplateError.At(scope.Rendering.Source, Line, e.Message);
        }
    }

    /// <summary>Assigns a value to one or several names.</summary>
    protected void Assign(TemplateScope scope, IReadOnlyList<string> names, bool unpacks, object? value) => Checked(scope, () =>
    {
        if (!unpacks)
        {
            scope.Set(names[0], value);
            return;
        }

        List<object?> items = [.. TemplateOperators.Items(value)];
        if (items.Count != names.Count)
            throw new TemplateValueException($"{items.Count} values cannot be assigned to {names.Count} names");
        for (int i = 0; i < items.Count; i++)
            scope.Set(names[i], items[i]);
    });
}

/// <summary>Text outside tags.</summary>
internal sealed record TextStatement(int Line, string Text) : TemplateStatement(Line)
{
    public override TemplateFlow Run(TemplateScope scope)
    {
        Checked(scope, () => scope.Rendering.Write(Text));
        return TemplateFlow.Next;
    }
}

/// <summary><c>{{ value }}</c>.</summary>
internal sealed record OutputStatement(int Line, TemplateExpression Value) : TemplateStatement(Line)
{
    public override TemplateFlow Run(TemplateScope scope)
    {
        object? value = Value.Evaluate(scope);
        Checked(scope, () => scope.Rendering.Write(TemplateOperators.Text(value)));
        return TemplateFlow.Next;
    }
}

/// <summary><c>{% if %}</c> with its <c>elif</c> branches and <c>else</c>.</summary>
internal sealed record IfStatement(int Line, IReadOnlyList<(TemplateExpression Condition, IReadOnlyList<TemplateStatement> Body)> Branches, IReadOnlyList<TemplateStatement> Else)
    : TemplateStatement(Line)
{
    public override TemplateFlow Run(TemplateScope scope)
    {
        foreach ((TemplateExpression condition, IReadOnlyList<TemplateStatement> body) in Branches)
        {
            if (TemplateOperators.IsTrue(condition.Evaluate(scope)))
                return RunAll(body, scope);
        }

        return RunAll(Else, scope);
    }
}

/// <summary><c>{% for %}</c>.</summary>
internal sealed record ForStatement(
    int Line, IReadOnlyList<string> Names, bool Unpacks, TemplateExpression Items, TemplateExpression? Filter, IReadOnlyList<TemplateStatement> Body, IReadOnlyList<TemplateStatement> Else)
    : TemplateStatement(Line)
{
    public override TemplateFlow Run(TemplateScope scope)
    {
        object? items = Items.Evaluate(scope);
        IEnumerable<object?> elements = [];
        Checked(scope, () => elements = TemplateOperators.Items(items));
        var loop = new TemplateLoop(elements.Where(item => Accepts(scope, item)));
        bool isEmpty = true;
        bool Moves()
        {
            bool moved = false;
            Checked(scope, () => moved = loop.MoveNext());
            return moved;
        }

        while (Moves())
        {
            isEmpty = false;
            TemplateScope inner = scope.Inner();
            inner.Set("loop", loop);
            Assign(inner, Names, Unpacks, loop.Current);
            if (RunAll(Body, inner) == TemplateFlow.Break)
                break;
        }

        return isEmpty ? RunAll(Else, scope.Inner()) : TemplateFlow.Next;
    }

    private bool Accepts(TemplateScope scope, object? item)
    {
        if (Filter is null)
            return true;
        TemplateScope inner = scope.Inner();
        Assign(inner, Names, Unpacks, item);
        return TemplateOperators.IsTrue(Filter.Evaluate(inner));
    }
}

/// <summary><c>{% break %}</c> and <c>{% continue %}</c>.</summary>
internal sealed record LeaveStatement(int Line, TemplateFlow Flow) : TemplateStatement(Line)
{
    public override TemplateFlow Run(TemplateScope scope) => Flow;
}

/// <summary><c>{% set names = value %}</c>.</summary>
internal sealed record SetStatement(int Line, IReadOnlyList<string> Names, bool Unpacks, TemplateExpression Value) : TemplateStatement(Line)
{
    public override TemplateFlow Run(TemplateScope scope)
    {
        Assign(scope, Names, Unpacks, Value.Evaluate(scope));
        return TemplateFlow.Next;
    }
}

/// <summary><c>{% set namespace.name = value %}</c>.</summary>
internal sealed record SetAttributeStatement(int Line, string Target, string Name, TemplateExpression Value) : TemplateStatement(Line)
{
    public override TemplateFlow Run(TemplateScope scope)
    {
        Checked(scope, () => (scope.Find(Target) as TemplateNamespace ?? throw new TemplateValueException($"'{Target}' is not a namespace, so {Target}.{Name} cannot be assigned"))
            .Attributes[Name] = Value.Evaluate(scope));
        return TemplateFlow.Next;
    }
}

/// <summary><c>{% set name %}…{% endset %}</c>: the output of the body, through filters.</summary>
/// <param name="Line">The line.</param>
/// <param name="Name">The variable.</param>
/// <param name="Body">Writes the text.</param>
/// <param name="Filtered">Reads the text as the variable <see cref="Captured"/> and applies the filters.</param>
internal sealed record SetBlockStatement(int Line, string Name, IReadOnlyList<TemplateStatement> Body, TemplateExpression Filtered) : TemplateStatement(Line)
{
    /// <summary>A name that no template can have.</summary>
    public const string Captured = "{text}";

    public override TemplateFlow Run(TemplateScope scope)
    {
        Checked(scope, () =>
        {
            TemplateScope inner = scope.Inner();
            inner.Set(Captured, scope.Rendering.Capture(() => RunAll(Body, inner)));
            scope.Set(Name, Filtered.Evaluate(inner));
        });
        return TemplateFlow.Next;
    }
}

/// <summary><c>{% macro name(parameters) %}</c>.</summary>
internal sealed record MacroStatement(int Line, string Name, IReadOnlyList<(string Name, TemplateExpression? Default)> Parameters, IReadOnlyList<TemplateStatement> Body)
    : TemplateStatement(Line)
{
    public override TemplateFlow Run(TemplateScope scope)
    {
        string[] names = [.. Parameters.Select(parameter => parameter.Name)];
        scope.Set(Name, new TemplateFunction(arguments =>
        {
            TemplateScope inner = scope.Inner();
            object?[] values = arguments.Bind(0, names);
            for (int i = 0; i < names.Length; i++)
            {
                bool isMissing = ReferenceEquals(values[i], TemplateArguments.Missing);
                inner.Set(names[i], !isMissing ? values[i] : Parameters[i].Default is { } value ? value.Evaluate(inner) : new TemplateUndefined($"the argument '{names[i]}' of {Name}"));
            }

            return scope.Rendering.Capture(() => RunAll(Body, inner));
        }));
        return TemplateFlow.Next;
    }
}

/// <summary><c>{% generation %}</c>: the part of the output that a model writes.</summary>
internal sealed record GenerationStatement(int Line, IReadOnlyList<TemplateStatement> Body) : TemplateStatement(Line)
{
    public override TemplateFlow Run(TemplateScope scope)
    {
        Checked(scope, () => scope.Rendering.Generate(() => RunAll(Body, scope.Inner())));
        return TemplateFlow.Next;
    }
}

/// <summary>The variable <c>loop</c> of a for statement. Elements are read as they are needed.</summary>
internal sealed class TemplateLoop(IEnumerable<object?> items)
{
    private readonly Queue<object?> ahead = new();
    private readonly IEnumerator<object?> rest = items.GetEnumerator();
    private List<object?>? changed;

    /// <summary>The current element.</summary>
    public object? Current { get; private set; }

    /// <summary>The number of the current element, from 0.</summary>
    public int Index { get; private set; } = -1;

    private object? Previous { get; set; }

    /// <summary>Moves on to the next element.</summary>
    public bool MoveNext()
    {
        if (!HasNext())
            return false;
        (Previous, Current, Index) = (Current, ahead.Dequeue(), Index + 1);
        return true;
    }

    /// <summary>An attribute of <c>loop</c>; null if there is none of this name.</summary>
    public (bool Found, object? Value) Attribute(string name) => name switch
    {
        "index" => (true, Index + 1L),
        "index0" => (true, (long)Index),
        "first" => (true, Index == 0),
        "last" => (true, !HasNext()),
        "length" => (true, Length()),
        "revindex" => (true, Length() - Index),
        "revindex0" => (true, Length() - Index - 1),
        "previtem" => (true, Index == 0 ? new TemplateUndefined("loop.previtem of the first element") : Previous),
        "nextitem" => (true, HasNext() ? ahead.Peek() : new TemplateUndefined("loop.nextitem of the last element")),
        "depth" => (true, 1L),
        "depth0" => (true, 0L),
        "cycle" => (true, new TemplateFunction(arguments => arguments.Positional.Count == 0 ? throw new TemplateValueException("loop.cycle needs values")
            : arguments.Positional[Index % arguments.Positional.Count])),
        "changed" => (true, new TemplateFunction(Changed)),
        _ => (false, null),
    };

    private object? Changed(TemplateArguments arguments)
    {
        bool differs = changed is null || !TemplateOperators.AreEqual(changed, arguments.Positional.ToList());
        changed = [.. arguments.Positional];
        return differs;
    }

    private bool HasNext()
    {
        if (ahead.Count == 0 && rest.MoveNext())
            ahead.Enqueue(rest.Current);
        return ahead.Count > 0;
    }

    private long Length()
    {
        while (rest.MoveNext())
            ahead.Enqueue(rest.Current);
        return Index + 1 + ahead.Count;
    }
}
