using ILGPU;
using ILGPU.Backends;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;
using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Compute;

/// <summary>
/// A CUDA or OpenCL device through ILGPU. Launches are asynchronous on one stream; only downloads and
/// <see cref="Device.Synchronize"/> wait. Results are the same bits in every run on one machine.
/// </summary>
public sealed partial class GpuDevice : Device
{
    private readonly Context context;
    private readonly MemoryBuffer1D<float, Stride1D.Dense> nothing;
    private readonly GpuVisibility visibility;
    private readonly GpuCompiler compiler;
    private readonly GpuPendingMaps pending;
    private GpuSlab? slab;
    private long allocated;

    internal GpuDevice(string name, Context context, Accelerator accelerator)
        : this(name, context, accelerator, GpuDevices.IsProcessor(accelerator.Device), null)
    {
    }

    private GpuDevice(string name, Context context, Accelerator accelerator, bool isProcessor, Dictionary<string, RecordedKernel>? recorded)
    {
        this.recorded = recorded;
        Name = name;
        this.context = context;
        visibility = new GpuVisibility(context);
        pending = new GpuPendingMaps(this);
        Accelerator = accelerator;
        compiler = new GpuCompiler(context, accelerator.GetBackend(), GpuKernelCache.OfUser());
        nothing = accelerator.Allocate1D<float>(64);
        staging = new GpuStaging(accelerator);
        IsProcessor = isProcessor;
        AttentionDepth = recorded is not null || accelerator.MaxSharedMemoryPerGroup >= GpuAttentionTiles.SharedBytes(32) ? 32 : 16;
        Plans = new GpuGemmPlans(accelerator.NumMultiprocessors, recorded is null && !isProcessor ? GpuGemmPlans.PathOf(accelerator.Name) : null);
    }

    /// <inheritdoc/>
    public override string Name { get; }

    /// <inheritdoc/>
    public override string Description => $"{Accelerator.Name}, {Accelerator.NumMultiprocessors} multiprocessors, {(Accelerator is CudaAccelerator ? "CUDA" : Accelerator.AcceleratorType.ToString())} through ILGPU";

    /// <inheritdoc/>
    public override long AvailableBytes => (Accelerator is CudaAccelerator cuda ? cuda.GetFreeMemory() + allocated : Accelerator.MemorySize) - allocated;

    /// <inheritdoc/>
    public override long LargestAllocation => Accelerator.Device is CLDevice cl ? cl.GetDeviceInfo<long>(CLDeviceInfoType.CL_DEVICE_MAX_MEM_ALLOC_SIZE) : long.MaxValue;

    /// <inheritdoc/>
    public override long ChunkLength => IsProcessor ? base.ChunkLength : 1L << 25;

    internal Accelerator Accelerator { get; }

    /// <summary>True for CPUs behind OpenCL, which have kernels of their own. Tests change it to run a GPU's kernels on a CPU.</summary>
    internal bool IsProcessor { get; set; }

    internal AcceleratorStream Stream => Accelerator.DefaultStream;

    /// <inheritdoc/>
    protected internal override DeviceMemory Allocate(long bytes)
    {
        try
        {
            if (bytes <= GpuSlab.Small && (slab ??= new GpuSlab(Accelerator)).TryTake(bytes, out int offset))
            {
                allocated += bytes;
                return new GpuMemory(this, slab, offset, bytes);
            }

            MemoryBuffer1D<byte, Stride1D.Dense> buffer = Accelerator.Allocate1D<byte>(bytes);
            allocated += bytes;
            return new GpuMemory(this, buffer);
        }
        catch (AcceleratorException e)
        {
            throw new DeviceMemoryException($"{Name}: out of memory: {bytes:N0} bytes requested, {allocated:N0} in use; use a smaller batch, block or model", e);
        }
    }

    internal void Freed(long bytes)
    {
        pending.Launch();
        allocated -= bytes;
    }

    /// <inheritdoc/>
    protected internal override void SynchronizeCore()
    {
        pending.Launch();
        Synchronizations++;
        Stream.Synchronize();
    }

    /// <summary>The number of times that the host waited for all launches.</summary>
    internal long Synchronizations { get; private set; }

    /// <inheritdoc/>
    protected override void DisposeCore()
    {
        try
        {
            Synchronize();
            base.DisposeCore();
            slab?.Dispose();
            table?.Dispose();
            staging.Dispose();
            while (arrived.TryPop(out PageLockedArray1D<float>? memory))
                memory.Dispose();
            nothing.Dispose();
            Accelerator.Dispose();
            context.Dispose();
        }
        catch (Exception e) when (GpuDevices.Explain(e) is not null)
        {
            // A lost device cannot release anything, and its failure was reported before.
        }
    }
}
