using System.CommandLine;
using System.CommandLine.Parsing;
using System.Reflection;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Cli.Commands;

/// <summary>Flags whose values are parsed strictly and checked against their ranges.</summary>
internal static class Flag
{
    /// <summary>A flag for a number, an enumeration or a Boolean; its help text states the range.</summary>
    public static Option<T> Of<T>(string name, string description, RangeAttribute? range = null) => new(name)
    {
        Description = range is { } limits && limits.Limits() is { Length: > 0 } text ? $"{description} ({(text.StartsWith("of ", StringComparison.Ordinal) ? text[3..] : text)})" : description,
        CustomParser = result => Parse<T>(result, name, range),
    };

    /// <summary>A flag with a default value.</summary>
    public static Option<T> Of<T>(string name, string description, T otherwise, RangeAttribute? range = null)
    {
        Option<T> option = Of<T>(name, description, range);
        option.DefaultValueFactory = _ => otherwise;
        return option;
    }

    /// <summary>A flag for a property of settings, with the range and the default value of the property.</summary>
    public static Option<T> For<T>(string name, string description, object defaults, string property)
    {
        PropertyInfo target = defaults.GetType().GetProperty(property)!;
        return Of(name, description, (T)target.GetValue(defaults)!, target.GetCustomAttribute<RangeAttribute>());
    }

    private static T Parse<T>(ArgumentResult result, string name, RangeAttribute? range)
    {
        try
        {
            // A flag alone is true.
            return (T)Values.Require(name, typeof(T), result.Tokens.Count == 0 ? "true" : result.Tokens[0].Value, range);
        }
        catch (UserException e)
        {
            result.AddError(e.Message);
            return default!;
        }
    }
}
