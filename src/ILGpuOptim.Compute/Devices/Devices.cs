using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Compute;

/// <summary>What can compute here, for people.</summary>
/// <param name="Name">What users type; of a device that cannot be used, its kind.</param>
/// <param name="Description">What it is.</param>
/// <param name="MemoryBytes">The memory it has.</param>
/// <param name="Limits">Further numbers.</param>
/// <param name="Problem">Why it cannot be used, or null.</param>
public sealed record DeviceInfo(string Name, string Description, long MemoryBytes, IReadOnlyList<(string Name, string Value)> Limits, string? Problem)
{
    /// <summary>Whether <c>auto</c> may choose it before the processor.</summary>
    public bool IsGpu { get; init; }
}

/// <summary>All devices of this machine.</summary>
public static class Devices
{
    /// <summary>The kinds that users can name; <c>cuda:1</c> is the second of its kind.</summary>
    public static IReadOnlyList<string> Kinds { get; } = ["cpu", "cuda", "opencl", "auto", "reference"];

    /// <summary>Opens a device.</summary>
    /// <param name="name">
    /// <c>cpu</c>, <c>reference</c>, <c>cuda</c>, <c>opencl</c>, one of the latter with a number (<c>cuda:1</c>), or <c>auto</c>: the first real GPU, else the processor.
    /// </param>
    /// <param name="threads">Threads of the processor; 0 means one for each core.</param>
    /// <exception cref="DeviceException">There is no such device, or it cannot be used; the message says why.</exception>
    public static Device Open(string name, int threads = 0) => name switch
    {
        "cpu" => new CpuDevice(threads),
        "reference" => new ReferenceDevice(),
        "auto" => GpuDevices.Best() is { } gpu ? GpuDevices.Open(gpu) : new CpuDevice(threads),
        _ when name.Split(':')[0] is "cuda" or "opencl" => GpuDevices.Open(name),
        _ => throw new DeviceException($"there is no device \"{name}\"; there are {string.Join(", ", Kinds)}"),
    };

    /// <summary>Every device here, also those that cannot be used.</summary>
    public static IReadOnlyList<DeviceInfo> List()
    {
        using var cpu = new CpuDevice();
        using var reference = new ReferenceDevice();
        return
        [
            .. new Device[] { cpu, reference }.Select(device => new DeviceInfo(device.Name, device.Description, device.AvailableBytes, [], null)),
            .. GpuDevices.List(),
        ];
    }

    /// <summary>One line about a failure of a driver; null for any other failure.</summary>
    public static string? Explain(Exception e) => e is DeviceException or DeviceMemoryException ? e.Message : GpuDevices.Explain(e);
}

/// <summary>A device that was asked for cannot be used.</summary>
public sealed class DeviceException(string message, Exception? inner = null) : Exception(message, inner);
