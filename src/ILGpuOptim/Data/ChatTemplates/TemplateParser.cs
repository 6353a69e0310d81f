namespace ILGpuOptim.Data.ChatTemplates;

/// <summary>Parses statements of templates. Statements and functions that chat templates do not use are refused by name.</summary>
internal sealed partial class TemplateParser
{
    /// <summary>The depth of nested statements, brackets and signs at which a template is refused.</summary>
    private const int MaxDepth = 200;

    private static readonly string[] Unsupported = ["include", "import", "from", "extends", "block", "call", "filter", "with", "do", "autoescape", "trans", "pluralize", "debug"];

    private readonly IReadOnlyList<TemplateToken> tokens;
    private readonly string source;
    private int position, depth, loops, macros;

    private TemplateParser(IReadOnlyList<TemplateToken> tokens, string source) => (this.tokens, this.source) = (tokens, source);

    private TemplateToken Current => tokens[position];

    /// <summary>Parses a template.</summary>
    /// <exception cref="UserException">A statement or expression is damaged or not supported.</exception>
    public static IReadOnlyList<TemplateStatement> Parse(string template, string source)
    {
        var parser = new TemplateParser(TemplateLexer.Read(template, source), source);
        List<TemplateStatement> statements = parser.Body([], 1);
        return statements;
    }

    /// <summary>Parses statements up to one of the given words, which is left with its arguments; at the outermost level, to the end.</summary>
    private List<TemplateStatement> Body(string[] ends, int startLine)
    {
        Enter();
        var statements = new List<TemplateStatement>();
        while (true)
        {
            TemplateToken token = Next();
            switch (token.Kind)
            {
                case TemplateTokenKind.End:
                    if (ends.Length > 0)
                        throw Error(startLine, $"the statement does not end with {{% {ends[^1]} %}}");
                    depth--;
                    return statements;
                case TemplateTokenKind.Text:
                    statements.Add(new TextStatement(token.Line, token.Text));
                    break;
                case TemplateTokenKind.OutputStart:
                    statements.Add(new OutputStatement(token.Line, Tuple(allowsConditional: true)));
                    Expect(TemplateTokenKind.OutputEnd);
                    break;
                default:
                    if (ends.Contains(Current.Text) && Current.Kind == TemplateTokenKind.Name)
                    {
                        depth--;
                        return statements;
                    }

                    statements.Add(Statement());
                    break;
            }
        }
    }

    private TemplateStatement Statement()
    {
        TemplateToken word = Expect(TemplateTokenKind.Name);
        switch (word.Text)
        {
            case "if":
                return If(word.Line);
            case "for":
                return For(word.Line);
            case "set":
                return Set(word.Line);
            case "macro":
                return Macro(word.Line);
            case "generation":
                EndStatement();
                List<TemplateStatement> body = OutsideLoops(() => Body(["endgeneration"], word.Line));
                EndBlock();
                return new GenerationStatement(word.Line, body);
            case "break" or "continue" when loops > 0:
                EndStatement();
                return new LeaveStatement(word.Line, word.Text == "break" ? TemplateFlow.Break : TemplateFlow.Continue);
            case "break" or "continue":
                throw Error(word.Line, $"{{% {word.Text} %}} is not within a loop");
            case "else" or "elif":
                throw Error(word.Line, $"{{% {word.Text} %}} without {{% if %}}");
            default:
                throw Error(word.Line, word.Text.StartsWith("end", StringComparison.Ordinal) ? $"{{% {word.Text} %}} ends nothing"
                    : Unsupported.Contains(word.Text) ? $"the statement '{word.Text}' is not supported; chat templates use if, for, set, macro and generation"
                    : $"the statement '{word.Text}' is not known");
        }
    }

    private IfStatement If(int line)
    {
        var branches = new List<(TemplateExpression, IReadOnlyList<TemplateStatement>)>();
        IReadOnlyList<TemplateStatement> otherwise = [];
        TemplateExpression condition = Tuple(allowsConditional: false);
        while (true)
        {
            EndStatement();
            branches.Add((condition, Body(["elif", "else", "endif"], line)));
            TemplateToken word = Next();
            if (word.Text == "elif")
            {
                condition = Tuple(allowsConditional: false);
                continue;
            }

            if (word.Text == "else")
            {
                EndStatement();
                otherwise = Body(["endif"], line);
                position++;
            }

            EndStatement();
            return new IfStatement(line, branches, otherwise);
        }
    }

    private ForStatement For(int line)
    {
        (IReadOnlyList<string> names, bool unpacks) = Targets();
        if (!Next().IsName("in"))
            throw Error(line, "{% for %} needs 'in' after its names");
        TemplateExpression items = Tuple(allowsConditional: false);
        TemplateExpression? filter = Skip("if") ? Expression() : null;
        if (Current.IsName("recursive"))
            throw Error(line, "recursive loops are not supported; use a macro");
        EndStatement();
        loops++;
        List<TemplateStatement> body = Body(["else", "endfor"], line);
        loops--;
        List<TemplateStatement> otherwise = [];
        if (Next().Text == "else")
        {
            EndStatement();
            otherwise = Body(["endfor"], line);
            position++;
        }

        EndStatement();
        return new ForStatement(line, names, unpacks, items, filter, body, otherwise);
    }

    private TemplateStatement Set(int line)
    {
        (IReadOnlyList<string> names, bool unpacks) = Targets();
        string? attribute = names.Count == 1 && SkipOperator(".") ? Expect(TemplateTokenKind.Name).Text : null;
        if (SkipOperator("="))
        {
            TemplateExpression value = Tuple(allowsConditional: true);
            EndStatement();
            return attribute is not null ? new SetAttributeStatement(line, names[0], attribute, value) : new SetStatement(line, names, unpacks, value);
        }

        if (unpacks || attribute is not null)
            throw Error(line, "a block of {% set %} assigns one variable; add = and a value, or give one name");
        TemplateExpression filtered = new NameExpression(line, SetBlockStatement.Captured);
        while (Current.IsOperator("|"))
            filtered = Filter(filtered);
        EndStatement();
        List<TemplateStatement> body = OutsideLoops(() => Body(["endset"], line));
        EndBlock();
        return new SetBlockStatement(line, names[0], body, filtered);
    }

    private MacroStatement Macro(int line)
    {
        string name = Expect(TemplateTokenKind.Name).Text;
        ExpectOperator("(");
        var parameters = new List<(string, TemplateExpression?)>();
        while (!SkipOperator(")"))
        {
            if (parameters.Count > 0)
                ExpectOperator(",");
            string parameter = Expect(TemplateTokenKind.Name).Text;
            TemplateExpression? value = SkipOperator("=") ? Expression() : null;
            if (value is null && parameters.Count > 0 && parameters[^1].Item2 is not null)
                throw Error(line, $"the parameter '{parameter}' of {name} needs a default, since the one before has one");
            parameters.Add((parameter, value));
        }

        EndStatement();
        macros++;
        List<TemplateStatement> body = OutsideLoops(() => Body(["endmacro"], line));
        macros--;
        EndBlock();
        return new MacroStatement(line, name, parameters, body);
    }

    /// <summary>Parses a body that cannot leave the loops around it.</summary>
    private List<TemplateStatement> OutsideLoops(Func<List<TemplateStatement>> body)
    {
        int outer = loops;
        loops = 0;
        List<TemplateStatement> result = body();
        loops = outer;
        return result;
    }

    /// <summary>The names that are assigned: one, or several separated by commas.</summary>
    private (IReadOnlyList<string> Names, bool Unpacks) Targets()
    {
        bool hasBrackets = SkipOperator("("), unpacks = hasBrackets;
        var names = new List<string> { Target() };
        while (SkipOperator(","))
        {
            unpacks = true;
            if (Current.Kind == TemplateTokenKind.Name && !Current.IsName("in"))
                names.Add(Target());
        }

        if (hasBrackets)
            ExpectOperator(")");
        return (names, unpacks && (names.Count > 1 || tokens[position - 1].IsOperator(",")));
    }

    private string Target()
    {
        TemplateToken name = Expect(TemplateTokenKind.Name);
        return name.Text is "true" or "false" or "none" or "True" or "False" or "None" ? throw Error(name.Line, $"'{name.Text}' cannot be assigned") : name.Text;
    }

    private void EndBlock()
    {
        position++;
        EndStatement();
    }

    private void EndStatement() => Expect(TemplateTokenKind.StatementEnd);

    private TemplateToken Next() => Current.Kind == TemplateTokenKind.End ? Current : tokens[position++];

    private TemplateToken Expect(TemplateTokenKind kind) => Current.Kind == kind ? Next() : throw Error(Current.Line, $"{Current.Description} is not expected here; there should be {(kind switch
    {
        TemplateTokenKind.StatementEnd => "%}",
        TemplateTokenKind.OutputEnd => "}}",
        _ => "a name",
    })}");

    private void ExpectOperator(string text)
    {
        if (!SkipOperator(text))
            throw Error(Current.Line, $"{Current.Description} is not expected here; there should be {text}");
    }

    private bool SkipOperator(string text)
    {
        bool found = Current.IsOperator(text);
        position += found ? 1 : 0;
        return found;
    }

    private bool Skip(string name)
    {
        bool found = Current.IsName(name);
        position += found ? 1 : 0;
        return found;
    }

    private void Enter()
    {
        if (++depth > MaxDepth)
            throw Error(Current.Line, $"statements or brackets are nested more than {MaxDepth} deep");
    }

    private UserException Error(int line, string problem) => TemplateError.At(source, line, problem);
}
