using ILGpuOptim.Compute;

namespace ILGpuOptim.Tests.Devices;

/// <summary>
/// GPUs of this machine, opened once for all tests, because every kernel is compiled for each opened device; so the tests that use them
/// are one collection and run one after the other. They skip where there is none.
/// </summary>
internal static class Gpu
{
    private static readonly Lazy<(GpuDevice? Device, string Reason)> CudaDevice = new(() => Open("cuda")), OpenClDevice = new(() => Open("opencl"));
    private static readonly Lazy<(GpuDevice? Device, string Reason)> OpenClGpu = new(() => Open("opencl"));

    public static GpuDevice Cuda() => OrSkip(CudaDevice.Value);

    public static GpuDevice OpenCl() => OrSkip(OpenClDevice.Value);

    /// <summary>The OpenCL device with the kernels of a GPU with little shared memory, which it runs also when it is a processor, only slower.</summary>
    public static GpuDevice OpenClWithKernelsOfGpus()
    {
        GpuDevice device = OrSkip(OpenClGpu.Value);
        device.IsProcessor = false;
        device.AttentionDepth = 16;
        return device;
    }

    private static GpuDevice OrSkip((GpuDevice? Device, string Reason) opened)
    {
        Assert.SkipWhen(opened.Device is null, opened.Reason);
        return opened.Device!;
    }

    private static (GpuDevice?, string) Open(string kind)
    {
        try
        {
            return ((GpuDevice)Compute.Devices.Open(kind), "");
        }
        catch (DeviceException e)
        {
            return (null, e.Message);
        }
    }
}
