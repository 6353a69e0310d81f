using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Compute;

/// <summary>The source of one kernel.</summary>
/// <param name="Key">The kernel, its rule and what it is specialised for.</param>
/// <param name="Title">The kernel and the rule in it.</param>
/// <param name="Threads">Threads of a group.</param>
/// <param name="Text">PTX or OpenCL C.</param>
public sealed record KernelSource(string Key, string Title, int Threads, string Text);

/// <summary>
/// Remembers the kernels that work on a GPU would launch, and compiles them to source, with neither a GPU nor a driver. Nothing is computed:
/// memory on <see cref="Device"/> stays as it is.
/// </summary>
/// <param name="asProcessor">Whether to choose the kernels of an OpenCL device that is a processor.</param>
public sealed class KernelRecorder(bool asProcessor = false) : IDisposable
{
    private readonly GpuDevice device = GpuDevice.Recorder(asProcessor);

    /// <summary>What <see cref="Compile"/> can make.</summary>
    public static IReadOnlyList<string> Targets { get; } = ["ptx", "opencl"];

    /// <summary>The device to work on.</summary>
    public Device Device => device;

    /// <summary>Forgets the kernels so far.</summary>
    public void Clear() => device.ClearRecorded();

    /// <summary>Compiles every kernel so far, each once.</summary>
    /// <param name="target"><c>ptx</c> or <c>opencl</c>.</param>
    /// <param name="architecture">The compute capability for PTX, such as 80.</param>
    /// <exception cref="ArgumentException">There is no such target.</exception>
    public IReadOnlyList<KernelSource> Compile(string target, int architecture = 80)
    {
        if (!Targets.Contains(target))
            throw new ArgumentException($"there is no target \"{target}\"; there are {string.Join(", ", Targets)}", nameof(target));
        using var compiler = new GpuCompiler(target, architecture);
        return [.. device.Recorded.Select(kernel => new KernelSource(kernel.Key, kernel.Title, kernel.Threads, compiler.Compile(kernel)))];
    }

    /// <inheritdoc/>
    public void Dispose() => device.Dispose();
}
