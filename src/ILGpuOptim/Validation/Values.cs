using System.Globalization;
using System.Text.Json;

namespace ILGpuOptim.Validation;

/// <summary>Parses and formats values of settings strictly, in the invariant culture: no group separators, no white space, no numbers in place of names.</summary>
internal static class Values
{
    private const string NumberCharacters = "0123456789+-.eE";

    /// <summary>True for numeric types.</summary>
    public static bool IsNumber(Type type) => Type.GetTypeCode(type = Underlying(type)) is >= TypeCode.SByte and <= TypeCode.Double && !type.IsEnum;

    /// <summary>Reads a number, a Boolean, or the name of an enumeration's member (<c>randomized_svd</c> or <c>randomized-svd</c>).</summary>
    /// <param name="type">The type of the value, which may be nullable.</param>
    /// <param name="text">The text.</param>
    /// <returns>The value; null if the text is not a value of the type.</returns>
    public static object? Parse(Type type, string text)
    {
        type = Underlying(type);
        if (type.IsEnum)
            return Enum.GetNames(type).FirstOrDefault(name => NameOf(name).Equals(text.Replace('-', '_'), StringComparison.OrdinalIgnoreCase)) is { } found ? Enum.Parse(type, found) : null;
        if (type == typeof(bool))
            return text.ToLowerInvariant() switch { "true" => true, "false" => false, _ => null };
        if (text.AsSpan().ContainsAnyExcept(NumberCharacters))
            return null;
        CultureInfo invariant = CultureInfo.InvariantCulture;
        const NumberStyles Fraction = NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent;
        return Type.GetTypeCode(type) switch
        {
            TypeCode.Int32 => int.TryParse(text, NumberStyles.AllowLeadingSign, invariant, out int whole) ? whole : null,
            TypeCode.Int64 => long.TryParse(text, NumberStyles.AllowLeadingSign, invariant, out long whole) ? whole : null,
            TypeCode.SByte => sbyte.TryParse(text, NumberStyles.AllowLeadingSign, invariant, out sbyte whole) ? whole : null,
            TypeCode.Byte => byte.TryParse(text, NumberStyles.AllowLeadingSign, invariant, out byte whole) ? whole : null,
            TypeCode.Int16 => short.TryParse(text, NumberStyles.AllowLeadingSign, invariant, out short whole) ? whole : null,
            TypeCode.UInt16 => ushort.TryParse(text, NumberStyles.AllowLeadingSign, invariant, out ushort whole) ? whole : null,
            TypeCode.UInt32 => uint.TryParse(text, NumberStyles.AllowLeadingSign, invariant, out uint whole) ? whole : null,
            TypeCode.UInt64 => ulong.TryParse(text, NumberStyles.AllowLeadingSign, invariant, out ulong whole) ? whole : null,
            TypeCode.Single => float.TryParse(text, Fraction, invariant, out float number) ? number : null,
            TypeCode.Double => double.TryParse(text, Fraction, invariant, out double number) ? number : null,
            _ => throw new ArgumentException($"settings cannot have the type {type}", nameof(type)),
        };
    }

    /// <summary>Reads a value and checks its range.</summary>
    /// <param name="name">The setting as the user knows it, for the message.</param>
    /// <param name="type">As for <see cref="Parse"/>.</param>
    /// <param name="text">The text.</param>
    /// <param name="range">The allowed range; null: all of the type.</param>
    /// <exception cref="UserException">The text is not a value of the type, or it is out of range.</exception>
    public static object Require(string name, Type type, string text, RangeAttribute? range = null)
    {
        object? value = Parse(type, text);
        if (value is not null && (!IsNumber(value.GetType()) || (range ?? Everything).Contains(value)))
            return value;
        throw new UserException($"{name} {(text.Length == 0 ? "\"\"" : text)}: {RuleFor(type, range, text)}");
    }

    /// <summary>As <see cref="Rule"/>, for an invalid value as text, with advice on commas.</summary>
    internal static string RuleFor(Type type, RangeAttribute? range, string text) =>
        Rule(type, range, Parse(type, text)) + (IsNumber(type) && text.Contains(',', StringComparison.Ordinal) ? $"; {WithoutCommas}" : "");

    internal const string WithoutCommas = "numbers are written as 0.001 or 1e-3, without commas";

    /// <summary>The end of an error message about an invalid value: what it must be.</summary>
    /// <param name="type">The type of the setting.</param>
    /// <param name="range">Its range.</param>
    /// <param name="value">The value; null if the text is not a value of the type.</param>
    internal static string Rule(Type type, RangeAttribute? range, object? value)
    {
        double number = value is null || !IsNumber(value.GetType()) ? 0 : Convert.ToDouble(value, CultureInfo.InvariantCulture);
        string rounding = (float)number == number || !double.IsFinite(number) || (range is not null && (number < range.Minimum || number > range.Maximum)) ? ""
            : string.Create(CultureInfo.InvariantCulture, $" in single precision, in which this is {(float)number}");
        return $"it must be {Describe(type, range)}{rounding}";
    }

    /// <summary>The valid values of a setting, in words: "a whole number of at least 1", "true or false", "f32, bf16 or int8".</summary>
    public static string Describe(Type type, RangeAttribute? range = null)
    {
        type = Underlying(type);
        if (type == typeof(bool))
            return "true or false";
        if (type.IsEnum)
            return Enum.GetNames(type) is [.. { Length: > 0 } others, var last] ? string.Join(" or ", string.Join(", ", others.Select(NameOf)), NameOf(last)) : NameOf(Enum.GetNames(type)[0]);
        if (!IsNumber(type))
            return "text";
        string limits = range?.Limits() ?? "";
        if (type == typeof(ulong) && (range is null || double.IsPositiveInfinity(range.Maximum)))
            limits = $"from 0 to {ulong.MaxValue}";
        else if (type == typeof(int) && (range is null || double.IsPositiveInfinity(range.Maximum)))
            limits = range is null ? $"from {int.MinValue} to {int.MaxValue}" : $"from {range.Minimum} to {int.MaxValue}";
        return $"{(type == typeof(double) || type == typeof(float) ? "a number" : "a whole number")} {limits}".TrimEnd();
    }

    /// <summary>The name of a property or of an enumeration's member in files: in snake case.</summary>
    public static string NameOf(string name) => JsonNamingPolicy.SnakeCaseLower.ConvertName(name);

    /// <summary>The place of a setting in files: <c>optimizer.beta1</c> for <c>Optimizer.Beta1</c>.</summary>
    public static string PathOf(string property) => string.Join('.', property.Split('.').Select(NameOf));

    private static Type Underlying(Type type) => Nullable.GetUnderlyingType(type) ?? type;

    /// <summary>The range of all finite numbers.</summary>
    internal static readonly RangeAttribute Everything = new(double.NegativeInfinity);
}
