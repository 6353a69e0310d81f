using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Compute;

/// <summary>The source of one kernel.</summary>
/// <param name="Key">The kernel, its rule and its specialization constants.</param>
/// <param name="Title">The kernel and the rule in it.</param>
/// <param name="Threads">Threads of a group.</param>
/// <param name="Text">PTX or OpenCL C.</param>
public sealed record KernelSource(string Key, string Title, int Threads, string Text);

/// <summary>
/// Records the kernels that a GPU would launch and compiles them to source, without a GPU or driver. Nothing is computed:
/// downloads from <see cref="Device"/> give zeros.
/// </summary>
public sealed class KernelRecorder : IDisposable
{
    private readonly GpuDevice device;

    /// <summary>A recorder of the kernels for GPUs.</summary>
    public KernelRecorder()
        : this(GpuDevice.Recorder())
    {
    }

    private KernelRecorder(GpuDevice device) => this.device = device;

    /// <summary>A recorder of the kernels for OpenCL drivers of CPUs.</summary>
    internal static KernelRecorder ForProcessors() => new(GpuDevice.Recorder(asProcessor: true));

    /// <summary>The targets of <see cref="Compile"/>.</summary>
    public static IReadOnlyList<string> Targets { get; } = ["ptx", "opencl"];

    /// <summary>The device to work on.</summary>
    public Device Device => device;

    /// <summary>Discards the recorded kernels.</summary>
    public void Clear() => device.ClearRecorded();

    /// <summary>Records products with every tile in every precision, with and without vector access, and with k split, and of few rows: the choices of larger models and other GPUs.</summary>
    public void RecordProducts()
    {
        Block a = device.Pool.Rent(1 << 17), b = device.Pool.Rent(1 << 17), c = device.Pool.Rent(1 << 17);
        foreach (Precision precision in Enum.GetValues<Precision>())
        {
            foreach (string tile in GpuGemmPlan.Tiles)
            {
                foreach ((int size, int parts) in new[] { (256, 1), (257, 1), (256, 2) })
                {
                    device.Plans.Forced = new GpuGemmPlan(tile, parts);
                    foreach ((bool transposeA, bool transposeB) in new[] { (false, true), (false, false), (true, false) })
                    {
                        // On tensor cores, neither splits nor vectors depend on how the factors are stored.
                        if (precision == Precision.F32 || (size, parts) == (256, 1) || transposeB)
                            device.Gemm(new GemmArguments(a, b, c, size, size, size) { TransposeA = transposeA, TransposeB = transposeB, Precision = precision });
                    }
                }
            }
        }

        foreach (DType type in (DType[])[DType.F32, DType.BF16, DType.I8])
        {
            Block weights = device.Pool.Rent(256, 256, type);
            foreach ((int rows, int parts) in new[] { (1, 1), (2, 1), (4, 1), (1, 2) })
            {
                device.Plans.Forced = new GpuGemmPlan(GpuGemmPlan.FewRows, parts);
                foreach (bool transposeB in new[] { false, true })
                    device.Gemm(new GemmArguments(a, weights, c, rows, 256, 256) { TransposeB = transposeB });
            }

            device.Pool.Return(weights);
        }

        device.Plans.Forced = null;
        device.Pool.Return(a);
        device.Pool.Return(b);
        device.Pool.Return(c);
    }

    /// <summary>Compiles every recorded kernel once, without those that need tensor cores if the target has none.</summary>
    /// <param name="target"><c>ptx</c> or <c>opencl</c>.</param>
    /// <param name="architecture">The compute capability for PTX, such as 80.</param>
    /// <exception cref="ArgumentException">There is no such target.</exception>
    public IReadOnlyList<KernelSource> Compile(string target, int architecture = 80)
    {
        if (!Targets.Contains(target))
            throw new ArgumentException($"there is no target \"{target}\"; there are {string.Join(", ", Targets)}", nameof(target));
        using var compiler = GpuCompiler.For(target, architecture);
        bool hasTensorCores = target == "ptx" && architecture >= GpuTensorCores.Architecture;
        return [.. device.Recorded.Where(kernel => hasTensorCores || !kernel.NeedsTensorCores).Select(kernel => new KernelSource(kernel.Key, kernel.Title, kernel.Threads, compiler.Source(kernel)))];
    }

    /// <inheritdoc/>
    public void Dispose() => device.Dispose();
}
