using ILGpuOptim.Compute;

namespace ILGpuOptim.Lab;

/// <summary>A launch or a transfer, and when it ran.</summary>
/// <param name="Call">The operation.</param>
/// <param name="Began">The timestamp of its beginning (<see cref="System.Diagnostics.Stopwatch.GetTimestamp"/>).</param>
/// <param name="Seconds">Its duration.</param>
/// <param name="Cost">Its bytes and operations.</param>
internal readonly record struct TracedCall(DeviceCall Call, long Began, double Seconds, LaunchCost Cost);
