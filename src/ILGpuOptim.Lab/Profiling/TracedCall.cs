using ILGpuOptim.Compute;

namespace ILGpuOptim.Lab;

/// <summary>A launch or a transfer, and when it ran.</summary>
/// <param name="Call">The operation.</param>
/// <param name="Began">The timestamp of its beginning (<see cref="System.Diagnostics.Stopwatch.GetTimestamp"/>).</param>
/// <param name="Seconds">Its duration.</param>
/// <param name="Cost">Its bytes and operations.</param>
/// <param name="Step">The training step that made it; 0: unknown.</param>
internal readonly record struct TracedCall(DeviceCall Call, long Began, double Seconds, LaunchCost Cost, long Step)
{
    /// <summary>The operation and its rule: <c>Map ScaleByRule</c>.</summary>
    public static string NameOf(in DeviceCall call) => call.Rule is null ? $"{call.Operation}" : $"{call.Operation} {NameOf(call.Rule)}";

    /// <summary>Rows × columns, and the summed dimension of a product or the keys of attention.</summary>
    public static string ShapeOf(in DeviceCall call) => $"{call.Rows} x {call.Columns}{(call.Depth == 0 ? "" : $" x {call.Depth}")}";

    private static string NameOf(Type type) => type.IsGenericType ? $"{type.Name.Split('`')[0]}<{string.Join(", ", type.GetGenericArguments().Select(NameOf))}>" : type.Name;
}
