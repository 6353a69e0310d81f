namespace System.Runtime.CompilerServices;

/// <summary>Known to the runtime by its name: the assembly that carries it may use everything of the named one.</summary>
/// <param name="assemblyName">The assembly that is opened.</param>
[AttributeUsage(AttributeTargets.Assembly, AllowMultiple = true)]
internal sealed class IgnoresAccessChecksToAttribute(string assemblyName) : Attribute
{
    /// <summary>The assembly that is opened.</summary>
    public string AssemblyName { get; } = assemblyName;
}
