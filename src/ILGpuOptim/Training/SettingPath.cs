using System.Reflection;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Training;

/// <summary>Training settings by the path of their property, such as <c>Optimizer.Beta1</c>.</summary>
internal static class SettingPath
{
    /// <summary>The settings with one value changed; nested settings that are null start from their defaults.</summary>
    public static TrainingSettings With(TrainingSettings settings, string path, object? value) => (TrainingSettings)With((object)settings, path.Split('.'), value);

    /// <summary>The range of a setting; null if it has none.</summary>
    public static RangeAttribute? RangeOf(string path)
    {
        Type type = typeof(TrainingSettings);
        string[] names = path.Split('.');
        foreach (string name in names[..^1])
            type = type.GetProperty(name)!.PropertyType;
        return type.GetProperty(names[^1])!.GetCustomAttribute<RangeAttribute>();
    }

    private static object With(object settings, ReadOnlySpan<string> names, object? value)
    {
        object changed = SettingsReader.Copy(settings);
        PropertyInfo property = settings.GetType().GetProperty(names[0])!;
        property.SetValue(changed, names.Length == 1 ? value : With(property.GetValue(settings) ?? Activator.CreateInstance(property.PropertyType)!, names[1..], value));
        return changed;
    }
}
