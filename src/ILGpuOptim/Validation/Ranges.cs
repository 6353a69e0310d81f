using System.Collections;
using System.Globalization;
using System.Reflection;

namespace ILGpuOptim.Validation;

/// <summary>Checks settings against their declared ranges.</summary>
internal static class Ranges
{
    /// <summary>The settings of a record: its public settable properties.</summary>
    public static IEnumerable<PropertyInfo> SettingsOf(Type type) =>
        type.GetProperties(BindingFlags.Public | BindingFlags.Instance).Where(property => property is { CanRead: true, SetMethod.IsPublic: true } && property.GetIndexParameters().Length == 0);

    /// <summary>
    /// Checks the numbers, enumerations and missing values of settings, including nested settings.
    /// </summary>
    /// <param name="settings">A record of settings.</param>
    /// <exception cref="SettingException">The first value outside its range.</exception>
    public static void Check(object settings) => Check(settings, "");

    private static void Check(object settings, string prefix)
    {
        (settings as IOpenSettings)?.CheckRanges();
        foreach (PropertyInfo property in SettingsOf(settings.GetType()))
        {
            string path = prefix + property.Name;
            Type type = Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;
            object? value = property.GetValue(settings);
            if (value is null)
            {
                if (!CanBeNull(property))
                    throw new SettingException(path, "null", "it must have a value");
            }
            else if (Values.IsNumber(type))
            {
                RangeAttribute? range = property.GetCustomAttribute<RangeAttribute>();
                if (!(range?.Contains(value) ?? true))
                    throw new SettingException(path, Convert.ToString(value, CultureInfo.InvariantCulture)!, Values.Rule(type, range, value));
            }
            else if (type.IsEnum && !Enum.IsDefined(type, value))
            {
                throw new SettingException(path, value.ToString()!, $"it must be {Values.Describe(type)}");
            }
            else if (value is IEnumerable items and not string)
            {
                int i = 0;
                foreach (object? item in items)
                {
                    if (item is null)
                        throw new SettingException($"{path}[{i}]", "null", "it must have a value");
                    if (IsSettings(item.GetType()))
                        Check(item, $"{path}[{i}].");
                    i++;
                }
            }
            else if (IsSettings(type))
            {
                Check(value, path + ".");
            }
        }
    }

    /// <summary>True if a property accepts null.</summary>
    public static bool CanBeNull(PropertyInfo property) => property.PropertyType.IsValueType
        ? Nullable.GetUnderlyingType(property.PropertyType) is not null
        : new NullabilityInfoContext().Create(property).WriteState != NullabilityState.NotNull;

    /// <summary>True for records whose properties are settings of the record that holds them.</summary>
    internal static bool IsSettings(Type type) =>
        type.IsClass && !type.IsAbstract && type.GetMethod("<Clone>$") is not null && !type.IsDefined(typeof(ChecksItselfAttribute), inherit: true);
}
