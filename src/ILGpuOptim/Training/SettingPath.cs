using System.Reflection;
using ILGpuOptim.Optim;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Training;

/// <summary>Training settings by the path of their property, such as <c>Optimizer.Beta1</c>.</summary>
internal static class SettingPath
{
    /// <summary>The settings with one value changed; nested settings that are null start from their defaults.</summary>
    public static TrainingSettings With(TrainingSettings settings, string path, object? value) => (TrainingSettings)With((object)settings, path.Split('.'), value);

    /// <summary>The range of a setting; null if it has none, or if it depends on the optimizer.</summary>
    public static RangeAttribute? RangeOf(string path)
    {
        Type type = typeof(TrainingSettings);
        string[] names = path.Split('.');
        foreach (string name in names[..^1])
            type = type.GetProperty(name)!.PropertyType;
        PropertyInfo property = type.GetProperty(names[^1])!;
        if (type != typeof(OptimizerSettings))
            return property.GetCustomAttribute<RangeAttribute>();
        RangeAttribute[] ranges = [.. Registry.Entries.Select(entry => OptimizerSetting.RangeOf(property, entry)).OfType<RangeAttribute>()];
        return ranges.DistinctBy(range => range.Limits()).Count() == 1 ? ranges[0] : null;
    }

    private static object With(object settings, ReadOnlySpan<string> names, object? value)
    {
        object changed = SettingsReader.Copy(settings);
        PropertyInfo property = settings.GetType().GetProperty(names[0])!;
        property.SetValue(changed, names.Length == 1 ? value : With(property.GetValue(settings) ?? Activator.CreateInstance(property.PropertyType)!, names[1..], value));
        return changed;
    }
}
