namespace ILGpuOptim.Validation;

/// <summary>Settings that have more fields than properties: an optimizer's own options.</summary>
internal interface IOpenSettings
{
    /// <summary>The names of all fields that are no property.</summary>
    IEnumerable<string> Names { get; }

    /// <summary>The valid values of a field in words; null if there is no such field.</summary>
    /// <param name="name">The field.</param>
    /// <param name="isWord">True for names such as <c>moonlight</c>; false for numbers, true and false.</param>
    string? ValidValues(string name, out bool isWord);

    /// <summary>The settings with one of these fields changed.</summary>
    /// <exception cref="UserException">There is no such field, or the value is invalid.</exception>
    object With(string name, string value);

    /// <summary>The settings with the default of one of these fields.</summary>
    object Without(string name);

    /// <summary>Checks the fields against their ranges.</summary>
    /// <exception cref="SettingException">The first value outside its range.</exception>
    void CheckRanges();
}
