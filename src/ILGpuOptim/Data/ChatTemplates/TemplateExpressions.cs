namespace ILGpuOptim.Data.ChatTemplates;

/// <summary>An expression of a template.</summary>
/// <param name="Line">Its line.</param>
internal abstract record TemplateExpression(int Line)
{
    /// <summary>The value; errors have the template's name and the line.</summary>
    public object? Evaluate(TemplateScope scope)
    {
        try
        {
            return Compute(scope);
        }
        catch (TemplateValueException e)
        {
            throw TemplateError.At(scope.Rendering.Source, Line, e.Message);
        }
    }

    /// <summary>Computes the value.</summary>
    protected abstract object? Compute(TemplateScope scope);
}

/// <summary>A constant.</summary>
internal sealed record ConstantExpression(int Line, object? Value) : TemplateExpression(Line)
{
    protected override object? Compute(TemplateScope scope) => Value;
}

/// <summary>A variable.</summary>
internal sealed record NameExpression(int Line, string Name) : TemplateExpression(Line)
{
    protected override object? Compute(TemplateScope scope) => scope.Find(Name);
}

/// <summary>A list or tuple.</summary>
internal sealed record ListExpression(int Line, IReadOnlyList<TemplateExpression> Items, bool IsTuple) : TemplateExpression(Line)
{
    protected override object? Compute(TemplateScope scope)
    {
        IEnumerable<object?> values = Items.Select(item => item.Evaluate(scope));
        return IsTuple ? new TemplateTuple(values) : values.ToList();
    }
}

/// <summary>A dictionary.</summary>
internal sealed record DictionaryExpression(int Line, IReadOnlyList<(TemplateExpression Key, TemplateExpression Value)> Items) : TemplateExpression(Line)
{
    protected override object? Compute(TemplateScope scope)
    {
        var result = new TemplateDictionary();
        foreach ((TemplateExpression key, TemplateExpression value) in Items)
            result[key.Evaluate(scope) ?? throw new TemplateValueException("None cannot be a key")] = value.Evaluate(scope);
        return result;
    }
}

/// <summary><c>and</c> and <c>or</c>, which give the value of the operand that decides.</summary>
internal sealed record LogicalExpression(int Line, bool IsAnd, TemplateExpression Left, TemplateExpression Right) : TemplateExpression(Line)
{
    protected override object? Compute(TemplateScope scope)
    {
        object? left = Left.Evaluate(scope);
        return TemplateOperators.IsTrue(left) == IsAnd ? Right.Evaluate(scope) : left;
    }
}

/// <summary><c>not</c>.</summary>
internal sealed record NotExpression(int Line, TemplateExpression Operand) : TemplateExpression(Line)
{
    protected override object? Compute(TemplateScope scope) => !TemplateOperators.IsTrue(Operand.Evaluate(scope));
}

/// <summary>A sign.</summary>
internal sealed record SignExpression(int Line, bool IsNegative, TemplateExpression Operand) : TemplateExpression(Line)
{
    protected override object? Compute(TemplateScope scope)
    {
        object? negative = TemplateOperators.Negate(Operand.Evaluate(scope));
        return IsNegative ? negative : TemplateOperators.Negate(negative);
    }
}

/// <summary>An arithmetic operator.</summary>
internal sealed record ArithmeticExpression(int Line, string Operator, TemplateExpression Left, TemplateExpression Right) : TemplateExpression(Line)
{
    protected override object? Compute(TemplateScope scope) => TemplateOperators.Apply(Operator, Left.Evaluate(scope), Right.Evaluate(scope));
}

/// <summary>Texts joined by <c>~</c>.</summary>
internal sealed record ConcatenationExpression(int Line, IReadOnlyList<TemplateExpression> Parts) : TemplateExpression(Line)
{
    protected override object? Compute(TemplateScope scope) => string.Concat(Parts.Select(part => TemplateOperators.Text(part.Evaluate(scope))));
}

/// <summary>A chain of comparisons, such as <c>a &lt; b &lt;= c</c>.</summary>
internal sealed record ComparisonExpression(int Line, TemplateExpression First, IReadOnlyList<(string Operator, TemplateExpression Operand)> Rest) : TemplateExpression(Line)
{
    protected override object? Compute(TemplateScope scope)
    {
        object? left = First.Evaluate(scope);
        foreach ((string name, TemplateExpression operand) in Rest)
        {
            object? right = operand.Evaluate(scope);
            if (!Holds(name, left, right))
                return false;
            left = right;
        }

        return true;
    }

    /// <summary>The result of one comparison.</summary>
    public static bool Holds(string name, object? left, object? right) => name switch
    {
        "==" => TemplateOperators.AreEqual(left, right),
        "!=" => !TemplateOperators.AreEqual(left, right),
        "in" => TemplateOperators.Contains(right, left),
        "not in" => !TemplateOperators.Contains(right, left),
        "<" => TemplateOperators.Compare(left, right) < 0,
        "<=" => TemplateOperators.Compare(left, right) <= 0,
        ">" => TemplateOperators.Compare(left, right) > 0,
        _ => TemplateOperators.Compare(left, right) >= 0,
    };
}

/// <summary><c>a if condition else b</c>.</summary>
internal sealed record ConditionalExpression(int Line, TemplateExpression Condition, TemplateExpression Then, TemplateExpression? Else) : TemplateExpression(Line)
{
    protected override object? Compute(TemplateScope scope) => TemplateOperators.IsTrue(Condition.Evaluate(scope)) ? Then.Evaluate(scope)
        : Else is null ? new TemplateUndefined("the value of an if without else") : Else.Evaluate(scope);
}

/// <summary><c>value.name</c>: an attribute, else an item.</summary>
internal sealed record AttributeExpression(int Line, TemplateExpression Target, string Name) : TemplateExpression(Line)
{
    protected override object? Compute(TemplateScope scope) => TemplateMembers.Attribute(Target.Evaluate(scope), Name);
}

/// <summary><c>value[key]</c>: an item, else an attribute.</summary>
internal sealed record ItemExpression(int Line, TemplateExpression Target, TemplateExpression Key) : TemplateExpression(Line)
{
    protected override object? Compute(TemplateScope scope) => TemplateMembers.Item(Target.Evaluate(scope), Key.Evaluate(scope));
}

/// <summary><c>value[start:stop:step]</c>.</summary>
internal sealed record SliceExpression(int Line, TemplateExpression Target, TemplateExpression? Start, TemplateExpression? Stop, TemplateExpression? Step) : TemplateExpression(Line)
{
    protected override object? Compute(TemplateScope scope) =>
        TemplateMembers.Slice(Target.Evaluate(scope), Start?.Evaluate(scope), Stop?.Evaluate(scope), Step?.Evaluate(scope));
}

/// <summary>The arguments of a call in the template.</summary>
/// <param name="Positional">Arguments without a name.</param>
/// <param name="Named">Arguments with a name.</param>
internal sealed record CallArguments(IReadOnlyList<TemplateExpression> Positional, IReadOnlyList<(string Name, TemplateExpression Value)> Named)
{
    /// <summary>No arguments.</summary>
    public static CallArguments None { get; } = new([], []);

    /// <summary>Evaluates them.</summary>
    public TemplateArguments Evaluate(TemplateScope scope, string callee)
    {
        object?[] positional = [.. Positional.Select(argument => argument.Evaluate(scope))];
        var named = new Dictionary<string, object?>();
        foreach ((string name, TemplateExpression value) in Named)
            named[name] = value.Evaluate(scope);
        return new TemplateArguments(callee, positional, named);
    }
}

/// <summary>A call of a function, macro or method.</summary>
internal sealed record CallExpression(int Line, TemplateExpression Function, CallArguments Arguments) : TemplateExpression(Line)
{
    protected override object? Compute(TemplateScope scope)
    {
        string name = Function switch { NameExpression named => named.Name, AttributeExpression attribute => attribute.Name, _ => "the called value" };
        return Function.Evaluate(scope) switch
        {
            TemplateFunction function => function.Call(Arguments.Evaluate(scope, name)),
            TemplateUndefined undefined => throw undefined.Error(),
            var other => throw new TemplateValueException($"{name} is {TemplateOperators.TypeOf(other)}, which cannot be called"),
        };
    }
}

/// <summary>A filter, <c>value | name(arguments)</c>.</summary>
internal sealed record FilterExpression(int Line, TemplateExpression Value, string Name, CallArguments Arguments) : TemplateExpression(Line)
{
    protected override object? Compute(TemplateScope scope) => TemplateFilters.Apply(Name, Value.Evaluate(scope), Arguments.Evaluate(scope, Name));
}

/// <summary>A test, <c>value is name(arguments)</c>.</summary>
internal sealed record TestExpression(int Line, TemplateExpression Value, string Name, CallArguments Arguments) : TemplateExpression(Line)
{
    protected override object? Compute(TemplateScope scope) => TemplateTests.Holds(Name, Value.Evaluate(scope), Arguments.Evaluate(scope, Name));
}
