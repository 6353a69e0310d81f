namespace ILGpuOptim.Data.ChatTemplates;

/// <summary>The kind of a token of a template.</summary>
internal enum TemplateTokenKind
{
    /// <summary>Text outside tags.</summary>
    Text,

    /// <summary>The start of a statement, <c>{%</c>.</summary>
    StatementStart,

    /// <summary>The end of a statement, <c>%}</c>.</summary>
    StatementEnd,

    /// <summary>The start of an output expression, <c>{{</c>.</summary>
    OutputStart,

    /// <summary>The end of an output expression, <c>}}</c>.</summary>
    OutputEnd,

    /// <summary>A name or keyword.</summary>
    Name,

    /// <summary>A string; <see cref="TemplateToken.Text"/> is its value.</summary>
    String,

    /// <summary>An integer.</summary>
    Integer,

    /// <summary>A floating-point number.</summary>
    Float,

    /// <summary>An operator or bracket.</summary>
    Operator,

    /// <summary>The end of the template.</summary>
    End,
}

/// <summary>A token of a template.</summary>
/// <param name="Kind">Its kind.</param>
/// <param name="Text">Its text, or the value of a string.</param>
/// <param name="Line">Its line, from 1.</param>
internal readonly record struct TemplateToken(TemplateTokenKind Kind, string Text, int Line)
{
    /// <summary>True for an operator with this text.</summary>
    public bool IsOperator(string text) => Kind == TemplateTokenKind.Operator && Text == text;

    /// <summary>True for a name with this text.</summary>
    public bool IsName(string text) => Kind == TemplateTokenKind.Name && Text == text;

    /// <summary>The token for messages.</summary>
    public string Description => Kind switch
    {
        TemplateTokenKind.End => "the end of the template",
        TemplateTokenKind.StatementEnd => "%}",
        TemplateTokenKind.OutputEnd => "}}",
        TemplateTokenKind.String => $"the string '{Text}'",
        _ => Text,
    };
}
