using System.Globalization;

namespace ILGpuOptim;

/// <summary>
/// A mistake of the user, or of a file: the message says what, where, and what to do, and needs no stack trace.
/// </summary>
public class UserException : Exception
{
    private readonly FormattableString? template;

    /// <param name="message">For people.</param>
    /// <param name="inner">The cause.</param>
    public UserException(string message, Exception? inner = null) : base(message, inner)
    {
    }

    private protected UserException(FormattableString template, Exception? inner) : base(Render(template, path => path), inner) => this.template = template;

    /// <summary>
    /// An error whose message names settings. <see cref="Exception.Message"/> has the names of their properties; <see cref="MessageWith"/> lets a front
    /// end show its own, such as flags.
    /// </summary>
    /// <param name="message">
    /// Holes with the format <c>setting</c> hold names of settings, as in <c>$"{nameof(Steps):setting} {Steps}: …"</c>. A hole may also hold another
    /// error, whose message names settings.
    /// </param>
    /// <param name="inner">The cause.</param>
    internal static UserException NamingSettings(FormattableString message, Exception? inner = null) => new(message, inner);

    /// <summary>The message with other names of the settings.</summary>
    /// <param name="nameOf">
    /// The name of a setting for its property, such as <c>Optimizer.Beta1</c>, or of what a method takes for its parameter, such as <c>folder</c>.
    /// </param>
    internal string MessageWith(Func<string, string> nameOf) => template is null ? Message : Render(template, nameOf);

    private static string Render(FormattableString template, Func<string, string> nameOf) => template.ToString(new Names(nameOf));

    /// <summary>Formats names of settings, and all else as in the invariant culture.</summary>
    private sealed class Names(Func<string, string> nameOf) : IFormatProvider, ICustomFormatter
    {
        public object? GetFormat(Type? formatType) => formatType == typeof(ICustomFormatter) ? this : CultureInfo.InvariantCulture.GetFormat(formatType!);

        public string Format(string? format, object? arg, IFormatProvider? formatProvider) => arg switch
        {
            string path when format == "setting" => nameOf(path),
            UserException error => error.MessageWith(nameOf),
            IFormattable value => value.ToString(format, this),
            _ => arg?.ToString() ?? "",
        };
    }
}
