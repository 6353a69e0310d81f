namespace ILGpuOptim.Validation;

/// <summary>The former name of a setting or of one of its values, which is still read from files of earlier versions.</summary>
/// <param name="name">The former name in snake case, such as <c>channels</c>.</param>
[AttributeUsage(AttributeTargets.Property | AttributeTargets.Field)]
internal sealed class FormerNameAttribute(string name) : Attribute
{
    /// <summary>The former name in snake case.</summary>
    public string Name { get; } = name;
}
