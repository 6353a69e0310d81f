namespace ILGpuOptim.Validation;

/// <summary>A setting is outside its range.</summary>
/// <param name="path">The property, such as <c>Optimizer.Beta1</c>.</param>
/// <param name="value">The value as text.</param>
/// <param name="rule">What the setting must be: "it must be a number above 0".</param>
internal sealed class SettingException(string path, string value, string rule) : UserException((FormattableString)$"{path:setting} {value}: {rule}", null)
{
    /// <summary>The property, with the properties that lead to it: <c>Optimizer.Beta1</c>.</summary>
    public string Path => path;
}
