namespace ILGpuOptim.Files;

/// <summary>A safetensors file that is damaged, or does not hold what it should.</summary>
/// <param name="message">Which file, what is wrong, and what to do.</param>
/// <param name="inner">What went wrong underneath.</param>
public sealed class SafetensorsException(string message, Exception? inner = null) : UserException(message, inner);
