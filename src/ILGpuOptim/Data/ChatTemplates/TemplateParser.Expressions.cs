using System.Globalization;

namespace ILGpuOptim.Data.ChatTemplates;

/// <content>Parses expressions, with Jinja's precedence of operators.</content>
internal sealed partial class TemplateParser
{
    private static readonly string[] Comparisons = ["==", "!=", "<", "<=", ">", ">="];

    /// <summary>Variables of macros that hold arguments without parameters.</summary>
    private static readonly string[] MacroVariables = ["varargs", "kwargs", "caller"];

    /// <summary>An expression, or several separated by commas, which are a tuple.</summary>
    private TemplateExpression Tuple(bool allowsConditional)
    {
        int line = Current.Line;
        TemplateExpression first = allowsConditional ? Expression() : Or();
        if (!Current.IsOperator(","))
            return first;
        var items = new List<TemplateExpression> { first };
        while (SkipOperator(","))
        {
            if (Current.Kind is TemplateTokenKind.StatementEnd or TemplateTokenKind.OutputEnd || Current.IsOperator(")"))
                break;
            items.Add(allowsConditional ? Expression() : Or());
        }

        return new ListExpression(line, items, IsTuple: true);
    }

    private TemplateExpression Expression()
    {
        Enter();
        int line = Current.Line;
        TemplateExpression value = Or();
        while (Skip("if"))
        {
            TemplateExpression condition = Or();
            value = new ConditionalExpression(line, condition, value, Skip("else") ? Expression() : null);
        }

        depth--;
        return value;
    }

    private TemplateExpression Or()
    {
        TemplateExpression left = And();
        for (int line = Current.Line; Skip("or"); line = Current.Line)
            left = new LogicalExpression(line, IsAnd: false, left, And());
        return left;
    }

    private TemplateExpression And()
    {
        TemplateExpression left = Not();
        for (int line = Current.Line; Skip("and"); line = Current.Line)
            left = new LogicalExpression(line, IsAnd: true, left, Not());
        return left;
    }

    private TemplateExpression Not()
    {
        int line = Current.Line;
        if (!Skip("not"))
            return Comparison();
        Enter();
        TemplateExpression operand = Not();
        depth--;
        return new NotExpression(line, operand);
    }

    private TemplateExpression Comparison()
    {
        int line = Current.Line;
        TemplateExpression first = Sum();
        var rest = new List<(string, TemplateExpression)>();
        while (true)
        {
            if (Current.Kind == TemplateTokenKind.Operator && Comparisons.Contains(Current.Text))
                rest.Add((Next().Text, Sum()));
            else if (Skip("in"))
                rest.Add(("in", Sum()));
            else if (Current.IsName("not") && tokens[position + 1].IsName("in") && (position += 2) > 0)
                rest.Add(("not in", Sum()));
            else
                return rest.Count == 0 ? first : new ComparisonExpression(line, first, rest);
        }
    }

    private TemplateExpression Sum() => Binary(["+", "-"], Concatenation);

    private TemplateExpression Concatenation()
    {
        int line = Current.Line;
        var parts = new List<TemplateExpression> { Product() };
        while (SkipOperator("~"))
            parts.Add(Product());
        return parts.Count == 1 ? parts[0] : new ConcatenationExpression(line, parts);
    }

    private TemplateExpression Product() => Binary(["*", "/", "//", "%"], Power);

    private TemplateExpression Power() => Binary(["**"], () => Unary(hasFilters: true));

    private TemplateExpression Binary(string[] names, Func<TemplateExpression> operand)
    {
        TemplateExpression left = operand();
        while (Current.Kind == TemplateTokenKind.Operator && names.Contains(Current.Text))
        {
            TemplateToken name = Next();
            left = new ArithmeticExpression(name.Line, name.Text, left, operand());
        }

        return left;
    }

    private TemplateExpression Unary(bool hasFilters)
    {
        Enter();
        int line = Current.Line;
        bool isNegative = Current.IsOperator("-");
        TemplateExpression value = isNegative || Current.IsOperator("+") ? Signed(line, isNegative) : Primary();
        value = Postfix(value);
        while (hasFilters)
        {
            if (Current.IsOperator("|"))
                value = Filter(value);
            else if (Current.IsName("is"))
                value = Test(value);
            else if (Current.IsOperator("("))
                value = new CallExpression(Current.Line, value, Arguments());
            else
                break;
        }

        depth--;
        return value;
    }

    private SignExpression Signed(int line, bool isNegative)
    {
        position++;
        return new SignExpression(line, isNegative, Unary(hasFilters: false));
    }

    private TemplateExpression Primary()
    {
        TemplateToken token = Next();
        switch (token.Kind)
        {
            case TemplateTokenKind.String:
                string text = token.Text;
                while (Current.Kind == TemplateTokenKind.String)
                    text += Next().Text;
                return new ConstantExpression(token.Line, text);
            case TemplateTokenKind.Integer when long.TryParse(token.Text, NumberStyles.None, CultureInfo.InvariantCulture, out long integer):
                return new ConstantExpression(token.Line, integer);
            case TemplateTokenKind.Integer:
                throw Error(token.Line, $"the integer {token.Text} has more than 64 bits");
            case TemplateTokenKind.Float:
                return new ConstantExpression(token.Line, double.Parse(token.Text, CultureInfo.InvariantCulture));
            case TemplateTokenKind.Name:
                return Named(token);
            case TemplateTokenKind.Operator when token.Text == "(":
                return Bracketed(token.Line);
            case TemplateTokenKind.Operator when token.Text == "[":
                var items = new List<TemplateExpression>();
                Separated("]", () => items.Add(Expression()));
                return new ListExpression(token.Line, items, IsTuple: false);
            case TemplateTokenKind.Operator when token.Text == "{":
                var pairs = new List<(TemplateExpression, TemplateExpression)>();
                Separated("}", () =>
                {
                    TemplateExpression key = Expression();
                    ExpectOperator(":");
                    pairs.Add((key, Expression()));
                });
                return new DictionaryExpression(token.Line, pairs);
            default:
                throw Error(token.Line, $"{token.Description} is not expected here; there should be a value");
        }
    }

    private TemplateExpression Named(TemplateToken name)
    {
        if (macros > 0 && MacroVariables.Contains(name.Text))
            throw Error(name.Line, $"the variable '{name.Text}' of macros is not supported; name the parameters");
        return name.Text switch
        {
            "true" or "True" => new ConstantExpression(name.Line, true),
            "false" or "False" => new ConstantExpression(name.Line, false),
            "none" or "None" => new ConstantExpression(name.Line, null),
            "and" or "or" or "not" or "if" or "else" or "in" or "is" => throw Error(name.Line, $"'{name.Text}' is not expected here; there should be a value"),
            _ => new NameExpression(name.Line, name.Text),
        };
    }

    private TemplateExpression Bracketed(int line)
    {
        if (SkipOperator(")"))
            return new ListExpression(line, [], IsTuple: true);
        TemplateExpression value = Tuple(allowsConditional: true);
        ExpectOperator(")");
        return value;
    }

    /// <summary>Parses items separated by commas up to a bracket; a comma may follow the last.</summary>
    private void Separated(string end, Action item)
    {
        while (!SkipOperator(end))
        {
            item();
            if (!Current.IsOperator(end))
                ExpectOperator(",");
        }
    }

    private TemplateExpression Postfix(TemplateExpression value)
    {
        while (true)
        {
            int line = Current.Line;
            if (SkipOperator("."))
            {
                TemplateToken name = Next();
                value = name.Kind switch
                {
                    TemplateTokenKind.Name => new AttributeExpression(line, value, name.Text),
                    TemplateTokenKind.Integer => new ItemExpression(line, value, new ConstantExpression(line, long.Parse(name.Text, CultureInfo.InvariantCulture))),
                    _ => throw Error(name.Line, $"{name.Description} is not expected after a dot; there should be a name"),
                };
            }
            else if (SkipOperator("["))
            {
                value = Subscript(value, line);
            }
            else if (Current.IsOperator("("))
            {
                value = new CallExpression(line, value, Arguments());
            }
            else
            {
                return value;
            }
        }
    }

    private TemplateExpression Subscript(TemplateExpression value, int line)
    {
        TemplateExpression? Part() => Current.IsOperator(":") || Current.IsOperator("]") ? null : Expression();
        TemplateExpression? start = Part();
        if (!SkipOperator(":"))
        {
            ExpectOperator("]");
            return new ItemExpression(line, value, start ?? throw Error(line, "the brackets [] need a key"));
        }

        TemplateExpression? stop = Part(), step = SkipOperator(":") ? Part() : null;
        ExpectOperator("]");
        return new SliceExpression(line, value, start, stop, step);
    }

    private CallArguments Arguments()
    {
        ExpectOperator("(");
        var positional = new List<TemplateExpression>();
        var named = new List<(string, TemplateExpression)>();
        Separated(")", () =>
        {
            if (Current.IsOperator("*") || Current.IsOperator("**"))
                throw Error(Current.Line, $"arguments after {Current.Text} are not supported; name them one by one");
            if (Current.Kind == TemplateTokenKind.Name && tokens[position + 1].IsOperator("="))
            {
                string name = Next().Text;
                position++;
                named.Add((name, Expression()));
            }
            else if (named.Count > 0)
            {
                throw Error(Current.Line, "an argument without a name follows one with a name");
            }
            else
            {
                positional.Add(Expression());
            }
        });
        return new CallArguments(positional, named);
    }

    private FilterExpression Filter(TemplateExpression value)
    {
        int line = Current.Line;
        ExpectOperator("|");
        string name = Expect(TemplateTokenKind.Name).Text;
        if (!TemplateFilters.Has(name))
            throw Error(line, $"the filter '{name}' is not supported");
        return new FilterExpression(line, value, name, Current.IsOperator("(") ? Arguments() : CallArguments.None);
    }

    private TemplateExpression Test(TemplateExpression value)
    {
        int line = Next().Line;
        bool isNegated = Skip("not");
        TemplateToken word = Next();
        string name = word.Text;
        if (!TemplateTests.Has(name) || word.Kind != TemplateTokenKind.Name)
            throw Error(line, $"the test '{name}' is not supported");
        CallArguments arguments = CallArguments.None;
        if (Current.IsOperator("("))
            arguments = Arguments();
        else if (Current.Kind is TemplateTokenKind.Name or TemplateTokenKind.String or TemplateTokenKind.Integer or TemplateTokenKind.Float
            ? Current.Text is not ("else" or "or" or "and" or "is") || Current.Kind == TemplateTokenKind.String : Current.IsOperator("[") || Current.IsOperator("{"))
            arguments = new CallArguments([Postfix(Primary())], []);
        TemplateExpression test = new TestExpression(line, value, name, arguments);
        return isNegated ? new NotExpression(line, test) : test;
    }
}
