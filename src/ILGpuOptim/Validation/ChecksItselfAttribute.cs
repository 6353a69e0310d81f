namespace ILGpuOptim.Validation;

/// <summary>A record that reads and checks its own fields, such as a model's configuration. <see cref="Ranges"/> does not look into it.</summary>
[AttributeUsage(AttributeTargets.Class)]
internal sealed class ChecksItselfAttribute : Attribute;
