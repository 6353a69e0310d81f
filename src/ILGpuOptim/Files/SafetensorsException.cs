namespace ILGpuOptim.Files;

/// <summary>A safetensors file is damaged or does not have the expected contents.</summary>
/// <param name="message">The file, the problem, and what to do.</param>
/// <param name="inner">The cause.</param>
public sealed class SafetensorsException(string message, Exception? inner = null) : UserException(message, inner);
