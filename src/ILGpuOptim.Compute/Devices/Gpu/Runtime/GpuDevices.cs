using System.Globalization;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Backends.OpenCL;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>Finds and opens ILGPU's accelerators, and says why some cannot be used.</summary>
internal static class GpuDevices
{
    /// <summary>ILGPU's search for devices must not run twice at a time: one of the two finds none.</summary>
    private static readonly Lock Gate = new();

    static GpuDevices() => NativeLibrary.SetDllImportResolver(typeof(Context).Assembly, Resolve);

    /// <summary>Opens the accelerator of a name that <see cref="List()"/> gives.</summary>
    /// <exception cref="DeviceException">There is none, or it cannot be used.</exception>
    public static GpuDevice Open(string name)
    {
        using Lock.Scope scope = Gate.EnterScope();
        string[] parts = name.Split(':');
        string kind = parts[0];
        int index = 0;
        if (parts.Length > 2 || (parts.Length == 2 && !int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out index)))
            throw new DeviceException($"there is no device \"{name}\"; {kind} is the first of its kind and {kind}:1 the second");
        Context context = NewContext(kind);
        try
        {
            var found = context.Devices.Where(device => device.AcceleratorType != AcceleratorType.CPU && LimitOf(device) is null).ToList();
            if (index < found.Count)
                return new GpuDevice(index == 0 ? kind : $"{kind}:{index}", context, found[index].CreateAccelerator(context));
            string? problem = List(kind).FirstOrDefault(info => info.Problem is not null)?.Problem;
            throw new DeviceException(found.Count > 0
                ? $"{name}: there {(found.Count == 1 ? $"is only one {kind} device, {kind}" : $"are only {found.Count} {kind} devices, {kind} to {kind}:{found.Count - 1}")}"
                : $"{kind}: {problem ?? "there is no such device"}; use the device cpu, or see what `doctor` reports");
        }
        catch (Exception e)
        {
            context.Dispose();
            if (e is not DeviceException && Explain(e) is { } reason)
                throw new DeviceException($"{name}: {reason}", e);
            throw;
        }
    }

    /// <summary>Every accelerator here, usable or not; for a kind without any, one entry that tells why.</summary>
    public static IReadOnlyList<DeviceInfo> List()
    {
        using Lock.Scope scope = Gate.EnterScope();
        return [.. List("cuda"), .. List("opencl")];
    }

    private static List<DeviceInfo> List(string kind)
    {
        var result = new List<DeviceInfo>();
        if (kind == "cuda")
            Collect(result, kind, "libcuda.so.1 or nvcuda.dll, which comes with NVIDIA's driver", () => [.. CudaDevice.GetDevices(_ => true)]);
        else
            Collect(result, kind, "libOpenCL.so.1 or OpenCL.dll, which comes with the vendor's driver (on Debian: ocl-icd-libopencl1 and a driver, such as pocl-opencl-icd)", () => [.. CLDevice.GetDevices(_ => true)]);
        return result;
    }

    /// <summary>The first accelerator that is a real GPU, or null.</summary>
    public static string? Best()
    {
        foreach (DeviceInfo info in List())
        {
            if (info is { Problem: null, IsGpu: true })
                return info.Name;
        }

        return null;
    }

    /// <summary>One line about a failure of a driver or of ILGPU's compiler; null when it is neither.</summary>
    public static string? Explain(Exception e) => e switch
    {
        CudaException cuda => $"CUDA reports {cuda.Error}: {cuda.Message}",
        CLException cl => $"OpenCL reports {cl.Error}: {cl.Message}",
        AcceleratorException => $"the driver failed: {e.Message}",
        InternalCompilerException => $"ILGPU cannot compile this kernel: {e.GetBaseException().Message}",
        _ => null,
    };

    /// <summary>A context with the devices of one kind, or for compiling without a device.</summary>
    public static Context NewContext(string? kind) => Context.Create(builder =>
    {
        if (kind == "cuda")
            builder.Cuda();
        else if (kind == "opencl")
            builder.OpenCL(Accepts);
        builder.Optimize(OptimizationLevel.O2).EnableAlgorithms();
        GpuMath.Register(builder);
    });

    /// <summary>
    /// Whether ILGPU shall use an OpenCL device. On its own it refuses devices without the generic address space, but the code that it generates for
    /// GPUs names the address space of every pointer. The kernels for processors do need it.
    /// </summary>
    private static bool Accepts(CLDevice device)
    {
        if (IsProcessor(device))
            return device.Capabilities.GenericAddressSpace;
        SetGenericAddressSpace(device.Capabilities, true);
        return device.CVersion >= CLCVersion.CL12;
    }

    // The constructor of ILGPU's accelerator looks at it once more.
    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "set_GenericAddressSpace")]
    private static extern void SetGenericAddressSpace(CLCapabilityContext capabilities, bool value);

    private static void Collect(List<DeviceInfo> result, string kind, string library, Func<IReadOnlyList<ILGPU.Runtime.Device>> find)
    {
        string? problem = null;
        IReadOnlyList<ILGPU.Runtime.Device> devices = [];
        try
        {
            devices = find();
            problem = devices.Count == 0 ? $"no driver lists a device; missing may be {library}" : null;
        }
        catch (Exception e)
        {
            problem = $"{(e is DllNotFoundException ? "there is no driver: missing " + library : e.GetBaseException().Message)}";
        }

        if (devices.Count == 0)
            result.Add(new DeviceInfo(kind, "", 0, [], problem));
        if (devices.Count == 0)
            return;
        using Context context = NewContext(kind);
        int usable = 0;
        foreach (ILGPU.Runtime.Device device in devices)
        {
            string? reason = context.Devices.Any(accepted => IsSame(accepted, device)) ? LimitOf(device) : ProblemOf(device);
            string name = reason is not null ? kind : usable == 0 ? kind : $"{kind}:{usable}";
            usable += reason is null ? 1 : 0;
            result.Add(new DeviceInfo(name, Describe(device), device.MemorySize, LimitsOf(device), reason) { IsGpu = !IsProcessor(device) });
        }
    }

    private static bool IsSame(ILGPU.Runtime.Device accepted, ILGPU.Runtime.Device device) =>
        (accepted is CLDevice a && device is CLDevice b && a.DeviceId == b.DeviceId)
        || (accepted is CudaDevice c && device is CudaDevice d && c.DeviceId == d.DeviceId);

    private static string ProblemOf(ILGPU.Runtime.Device device) => device switch
    {
        CLDevice { Capabilities.GenericAddressSpace: false } when IsProcessor(device) => "it has no generic address space, which the kernels for processors need (PoCL has it from version 5 on)",
        CLDevice cl => $"ILGPU refuses it; it needs OpenCL C {CLCVersion.CL12}, and the device tells {cl.CVersion}",
        _ => "its architecture or driver is unknown to ILGPU 1.5",
    };

    private static string? LimitOf(ILGPU.Runtime.Device device) => GpuLimits.ProblemOf(device.MaxNumThreadsPerGroup, device.MaxSharedMemoryPerGroup, IsProcessor(device));

    /// <summary>Whether an OpenCL device is a processor.</summary>
    public static bool IsProcessor(ILGPU.Runtime.Device device) => device is CLDevice { DeviceType: CLDeviceType.CL_DEVICE_TYPE_CPU };

    private static string Describe(ILGPU.Runtime.Device device) => device switch
    {
        CLDevice cl => $"{cl.Name.Trim()} ({cl.PlatformName.Trim()}, {cl.CVersion})",
        CudaDevice cuda => $"{cuda.Name.Trim()} ({cuda.Architecture}, driver {cuda.DriverVersion})",
        _ => device.Name,
    };

    private static (string, string)[] LimitsOf(ILGPU.Runtime.Device device) =>
    [
        ("multiprocessors", $"{device.NumMultiprocessors}"),
        ("threads of a group", $"{device.MaxNumThreadsPerGroup}"),
        ("shared memory of a group", $"{device.MaxSharedMemoryPerGroup / 1024} KiB"),
        ("warp", device.WarpSize == 0 ? "unknown" : $"{device.WarpSize}"),
    ];

    /// <summary>ILGPU asks for the names that development packages install; drivers alone bring those with a version.</summary>
    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? path)
    {
        string? versioned = name switch { "OpenCL" => "libOpenCL.so.1", "cuda" => "libcuda.so.1", _ => null };
        return versioned is not null && OperatingSystem.IsLinux() && NativeLibrary.TryLoad(versioned, out nint handle) ? handle : 0;
    }
}
