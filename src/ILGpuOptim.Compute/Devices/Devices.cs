using System.Globalization;
using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Compute;

/// <summary>A device of this machine, described for users.</summary>
/// <param name="Name">The name that users type; the kind, for a device that cannot be used.</param>
/// <param name="Description">The hardware.</param>
/// <param name="MemoryBytes">Its memory, in bytes.</param>
/// <param name="Limits">Further properties.</param>
/// <param name="Problem">Why the device cannot be used, or null.</param>
public sealed record DeviceInfo(string Name, string Description, long MemoryBytes, IReadOnlyList<(string Name, string Value)> Limits, string? Problem)
{
    /// <summary>True if <c>auto</c> prefers it to the CPU.</summary>
    public bool IsGpu { get; init; }
}

/// <summary>A kind of device: how it is named, opened and listed.</summary>
/// <param name="Name">The name that users type: lower-case ASCII letters, digits and hyphens.</param>
/// <param name="Open">Opens a device, or throws <see cref="DeviceException"/> when it cannot be used.</param>
public sealed record DeviceKind(string Name, Func<DeviceOptions, Device> Open)
{
    /// <summary>True if a machine can have several: <c>cuda:1</c> is the second. Otherwise a name with an index is refused.</summary>
    public bool IsIndexed { get; init; }

    /// <summary>Describes the devices of this kind on this machine. By default opens the first and describes it.</summary>
    public Func<IReadOnlyList<DeviceInfo>>? List { get; init; }

    internal IReadOnlyList<DeviceInfo> Describe()
    {
        if (List is not null)
            return List();
        try
        {
            using Device device = Open(new DeviceOptions());
            return [new DeviceInfo(Name, device.Description, device.AvailableBytes, [], null)];
        }
        catch (Exception e) when (Devices.Explain(e) is { } problem)
        {
            return [new DeviceInfo(Name, "", 0, [], problem)];
        }
    }
}

/// <summary>The arguments with which a <see cref="DeviceKind"/> opens a device.</summary>
public sealed record DeviceOptions
{
    /// <summary>The number after the colon of an indexed kind; 0 is the first device.</summary>
    public int Index { get; init; }

    /// <summary>Threads for devices that compute on the CPU; 0 means one for each core.</summary>
    public int Threads { get; init; }
}

/// <summary>The devices of this machine, by name.</summary>
public static class Devices
{
    private static readonly Lock Gate = new();

    private static volatile DeviceKind[] kinds =
    [
        new("cpu", options => new CpuDevice(options.Threads)),
        new("reference", _ => new ReferenceDevice()),
        new("cuda", options => GpuDevices.Open("cuda", options.Index)) { IsIndexed = true, List = () => GpuDevices.List("cuda") },
        new("opencl", options => GpuDevices.Open("opencl", options.Index)) { IsIndexed = true, List = () => GpuDevices.List("opencl") },
        new("auto", options => GpuDevices.Best() is { } gpu ? Open(gpu) : new CpuDevice(options.Threads)) { List = () => [] },
    ];

    /// <summary>The names of all kinds: <c>cpu</c>, <c>reference</c>, <c>cuda</c>, <c>opencl</c>, <c>auto</c>, then the registered ones.</summary>
    public static IReadOnlyList<string> Kinds => [.. kinds.Select(kind => kind.Name)];

    /// <summary>Adds a kind of device, for this process: <see cref="Open"/>, <see cref="List"/> and <c>--device</c> find it from now on.</summary>
    /// <exception cref="ArgumentException">The name is taken, empty, or has characters other than lower-case ASCII letters, digits and hyphens.</exception>
    public static void Register(DeviceKind kind)
    {
        if (kind.Name.Length == 0 || !kind.Name.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c == '-'))
            throw new ArgumentException($"\"{kind.Name}\" is not a device name: use lower-case letters, digits and hyphens", nameof(kind));
        lock (Gate)
        {
            if (kinds.Any(other => other.Name == kind.Name))
                throw new ArgumentException($"there is a device \"{kind.Name}\" already", nameof(kind));
            kinds = [.. kinds, kind];
        }
    }

    /// <summary>Opens a device.</summary>
    /// <param name="name">
    /// One of <see cref="Kinds"/>. <c>cuda:1</c> and <c>opencl:1</c> are the second of their kinds; <c>auto</c> is the first real GPU, else the CPU.
    /// </param>
    /// <param name="threads">Threads of the CPU; 0 means one for each core.</param>
    /// <exception cref="DeviceException">There is no such device, or it cannot be used; the message says why.</exception>
    public static Device Open(string name, int threads = 0)
    {
        string[] parts = name.Split(':');
        DeviceKind? kind = kinds.FirstOrDefault(known => known.Name == parts[0] && (parts.Length == 1 || known.IsIndexed));
        if (kind is null)
            throw new DeviceException($"there is no device \"{name}\"; there are {string.Join(", ", Kinds)}");
        int index = 0;
        if (parts.Length > 2 || (parts.Length == 2 && !int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out index)))
            throw new DeviceException($"there is no device \"{name}\"; {kind.Name} is the first of its kind and {kind.Name}:1 the second");
        return kind.Open(new DeviceOptions { Index = index, Threads = threads });
    }

    /// <summary>Every device of this machine, including those that cannot be used.</summary>
    public static IReadOnlyList<DeviceInfo> List() => [.. kinds.SelectMany(kind => kind.Describe())];

    /// <summary>One line about a failure of a driver; null for any other failure.</summary>
    public static string? Explain(Exception e) => e is DeviceException or DeviceMemoryException ? e.Message : GpuDevices.Explain(e);
}

/// <summary>The requested device cannot be used.</summary>
public sealed class DeviceException(string message, Exception? inner = null) : Exception(message, inner);
