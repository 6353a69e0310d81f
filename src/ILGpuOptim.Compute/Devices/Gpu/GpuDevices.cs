using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;
using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Compute;

/// <summary>Finds and opens accelerators.</summary>
public static class GpuDevices
{
    /// <summary>Opens an accelerator.</summary>
    /// <param name="kind"><c>cuda</c> or <c>opencl</c>.</param>
    /// <param name="index">Which of that kind, from 0.</param>
    /// <exception cref="DeviceException">There is none.</exception>
    public static GpuDevice Open(string kind, int index = 0)
    {
        Context context = NewContext(kind);
        try
        {
            var found = context.Devices.Where(device => device.AcceleratorType != AcceleratorType.CPU).ToList();
            if (index < found.Count)
                return new GpuDevice(index == 0 ? kind : $"{kind}:{index}", context, found[index].CreateAccelerator(context));
            throw new DeviceException(found.Count == 0
                ? $"{kind}: there is no such device here; `devices` tells what there is and why"
                : $"{kind}:{index}: there are only {found.Count} such devices");
        }
        catch
        {
            context.Dispose();
            throw;
        }
    }

    internal static Context NewContext(string kind) => Context.Create(builder =>
    {
        if (kind == "cuda")
            builder.Cuda();
        else
            builder.OpenCL();
        builder.Optimize(OptimizationLevel.O2).EnableAlgorithms();
        GpuMath.Register(builder);
    });
}

/// <summary>A device that was asked for cannot be used.</summary>
public sealed class DeviceException(string message, Exception? inner = null) : Exception(message, inner);
