namespace ILGpuOptim.Data.ChatTemplates;

/// <summary>Errors of templates.</summary>
internal static class TemplateError
{
    /// <summary>An error with the template's name and the line.</summary>
    public static UserException At(string source, int line, string problem) => new($"{source}: line {line}: {problem}");
}

/// <summary>An operation that a value of a template does not have. The node that ran it adds the name and the line of the template.</summary>
internal sealed class TemplateValueException(string message) : Exception(message);
