using System.Runtime.CompilerServices;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// An event in a device's stream: the host can wait for everything launched before it while later launches continue. ILGPU's own
/// markers are unsuitable: on OpenCL they block when they are created.
/// </summary>
internal sealed class GpuEvent : IDisposable
{
    private readonly AcceleratorStream stream;
    private nint handle;

    /// <summary>Records an event after everything launched on a stream.</summary>
    public unsafe GpuEvent(AcceleratorStream stream)
    {
        this.stream = stream;
        nint created = 0;
        if (stream is CudaStream cuda)
        {
            using ScopedAcceleratorBinding binding = stream.Accelerator.BindScoped();
            CudaException.ThrowIfFailed(CudaAPI.CurrentAPI.CreateEvent(out created, CudaEventFlags.CU_EVENT_DISABLE_TIMING));
            handle = created;
            CudaException.ThrowIfFailed(CudaAPI.CurrentAPI.RecordEvent(handle, cuda.StreamPtr));
        }
        else if (stream is CLStream cl)
        {
            // The queue is in order, so a barrier's event completes after everything before it. Drivers may defer launches until a flush.
            CLException.ThrowIfFailed(EnqueueBarrierWithWaitList(CLAPI.CurrentAPI, cl.CommandQueue, [], &created));
            handle = created;
            CLException.ThrowIfFailed(CLAPI.CurrentAPI.FlushCommandQueue(cl.CommandQueue));
        }
    }

    /// <summary>Blocks until the event has completed.</summary>
    public void Wait()
    {
        if (stream is CudaStream)
        {
            using ScopedAcceleratorBinding binding = stream.Accelerator.BindScoped();
            CudaException.ThrowIfFailed(CudaAPI.CurrentAPI.SynchronizeEvent(handle));
        }
        else if (stream is CLStream)
        {
            CLException.ThrowIfFailed(WaitForEvents(CLAPI.CurrentAPI, [handle]));
        }
        else
        {
            stream.Synchronize();
        }
    }

    /// <summary>Releases the event; the work that it marks continues.</summary>
    public void Dispose()
    {
        if (handle == 0)
            return;
        if (stream is CudaStream)
        {
            using ScopedAcceleratorBinding binding = stream.Accelerator.BindScoped();
            CudaException.ThrowIfFailed(CudaAPI.CurrentAPI.DestroyEvent(handle));
        }
        else
        {
            CLException.ThrowIfFailed(ReleaseEvent(CLAPI.CurrentAPI, handle));
        }

        handle = 0;
    }

    [UnsafeAccessor(UnsafeAccessorKind.Method)]
    private static extern unsafe CLError EnqueueBarrierWithWaitList(CLAPI api, nint queue, nint[] events, nint* created);

    [UnsafeAccessor(UnsafeAccessorKind.Method)]
    private static extern CLError WaitForEvents(CLAPI api, ReadOnlySpan<nint> events);

    [UnsafeAccessor(UnsafeAccessorKind.Method)]
    private static extern CLError ReleaseEvent(CLAPI api, nint handle);
}
