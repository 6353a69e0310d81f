using System.ComponentModel;
using System.Globalization;
using System.Reflection;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>An option that the library derives from the parameter or its group: it is set in code only, and is no setting.</summary>
[AttributeUsage(AttributeTargets.Property)]
public sealed class DerivedOptionAttribute : Attribute;

/// <summary>
/// An option of an optimizer. The property of the options record is its only declaration: <see cref="RangeAttribute"/> gives its range,
/// <see cref="DescriptionAttribute"/> its help text, and the default is that of the registered options.
/// </summary>
public sealed class OptimizerOption
{
    private readonly PropertyInfo property;

    private OptimizerOption(PropertyInfo property, object defaults)
    {
        this.property = property;
        Name = Values.NameOf(property.Name);
        FormerName = property.GetCustomAttribute<FormerNameAttribute>()?.Name;
        Range = property.GetCustomAttribute<RangeAttribute>();
        Description = property.GetCustomAttribute<DescriptionAttribute>()?.Description ?? "";
        Default = Text(property.GetValue(defaults));
    }

    /// <summary>The name in files and on the command line, such as <c>update_projection_gap</c>.</summary>
    public string Name { get; }

    /// <summary>The help text; empty if there is none.</summary>
    public string Description { get; }

    /// <summary>The default value; null means that the option is off.</summary>
    public string? Default { get; }

    /// <summary>The valid values in words: "a number of at least 0 and below 1", "true or false".</summary>
    public string ValidValues => Values.Describe(Type, Range);

    internal string? FormerName { get; }

    internal RangeAttribute? Range { get; }

    /// <summary>True for names such as <c>moonlight</c>; false for numbers, true and false.</summary>
    internal bool IsWord => Type.IsEnum;

    internal Type Type => Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;

    /// <summary>The path of the option in settings, such as <c>Optimizer.Beta1</c>, for messages.</summary>
    internal string Path => $"Optimizer.{property.Name}";

    /// <summary>The options that a record declares in addition to those of all optimizers, and those of its parts.</summary>
    internal static IReadOnlyList<OptimizerOption> Of(OptimizerOptions defaults) => [.. DeclaredBy(defaults), .. defaults.Parts.SelectMany(Of)];

    /// <summary>The options of a part.</summary>
    internal static IReadOnlyList<OptimizerOption> Of(Part part) => DeclaredBy(part);

    private static OptimizerOption[] DeclaredBy(object defaults) =>
        [.. Ranges.SettingsOf(defaults.GetType())
            .Where(property => property.DeclaringType != typeof(OptimizerOptions) && !property.IsDefined(typeof(DerivedOptionAttribute)))
            .OrderBy(property => Depth(property.DeclaringType!))
            .Select(property => new OptimizerOption(property, defaults))];

    /// <summary>True for its name or its former one, with - or _.</summary>
    internal bool IsNamed(string name)
    {
        string wanted = name.Replace('-', '_');
        return Name.Equals(wanted, StringComparison.OrdinalIgnoreCase) || (FormerName?.Equals(wanted, StringComparison.OrdinalIgnoreCase) ?? false);
    }

    /// <summary>A value in the form in which it is stored.</summary>
    /// <exception cref="UserException">The text is not a valid value.</exception>
    internal string Normalized(string text) => Text(Parse(text))!;

    /// <summary>Sets the option of a record.</summary>
    /// <exception cref="UserException">The text is not a valid value.</exception>
    internal void Set(OptimizerOptions options, string text) =>
        property.SetValue(property.DeclaringType!.IsInstanceOfType(options) ? options : options.Parts.First(property.DeclaringType.IsInstanceOfType), Parse(text));

    /// <summary>What an invalid value must be.</summary>
    internal string RuleFor(string text) => Values.RuleFor(Type, Range, text);

    /// <summary>True for a valid value.</summary>
    internal bool Accepts(string text) => Accepts(Values.Parse(Type, text));

    private bool Accepts(object? value) => value is not null && (!Values.IsNumber(Type) || (Range ?? Values.Everything).Contains(value));

    private object Parse(string text)
    {
        object? value = Values.Parse(Type, text);
        return Accepts(value) ? value! : throw new SettingException(Path, text.Length == 0 ? "\"\"" : text, RuleFor(text));
    }

    private static string? Text(object? value) => value switch
    {
        null => null,
        bool flag => flag ? "true" : "false",
        Enum => Values.NameOf(value.ToString()!),
        _ => Convert.ToString(value, CultureInfo.InvariantCulture),
    };

    private static int Depth(Type type) => type.BaseType is { } parent ? 1 + Depth(parent) : 0;
}
