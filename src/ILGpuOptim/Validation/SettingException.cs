namespace ILGpuOptim.Validation;

/// <summary>A setting has a value that it cannot have.</summary>
/// <param name="path">The property, such as <c>Optimizer.Beta1</c>.</param>
/// <param name="value">The value as text.</param>
/// <param name="rule">What the setting must be: "it must be a number above 0".</param>
public sealed class SettingException(string path, string value, string rule) : UserException($"{path} {value}: {rule}")
{
    /// <summary>The property, with the properties that lead to it: <c>Optimizer.Beta1</c>.</summary>
    public string Path => path;

    /// <summary>The same error under the name that the user gave the setting, such as a flag or a place in a file.</summary>
    public UserException Named(string name) => new($"{name} {value}: {rule}", this);
}
