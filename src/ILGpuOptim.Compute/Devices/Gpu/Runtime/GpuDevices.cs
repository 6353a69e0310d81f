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

/// <summary>Finds and opens ILGPU's accelerators, and states why some cannot be used.</summary>
internal static class GpuDevices
{
    /// <summary>The reason for which GPUs are refused in programs that are compiled ahead of time, and for which trimming need not keep members for them.</summary>
    public const string NeedsDynamicCode = "ILGPU compiles kernels while the program runs, which a program compiled ahead of time (PublishAot) cannot do; publish it without PublishAot to use GPUs";

    /// <summary>Serializes ILGPU's device search: of two concurrent searches, one finds no device.</summary>
    private static readonly Lock Gate = new();

    static GpuDevices() => NativeLibrary.SetDllImportResolver(typeof(Context).Assembly, Resolve);

    /// <summary>Opens the usable accelerator of a kind, <c>cuda</c> or <c>opencl</c>, that has this index.</summary>
    /// <exception cref="DeviceException">There is none, or it cannot be used.</exception>
    public static GpuDevice Open(string kind, int index)
    {
        if (!RuntimeFeature.IsDynamicCodeSupported)
            throw new DeviceException($"{kind}: {NeedsDynamicCode}");
        using Lock.Scope scope = Gate.EnterScope();
        string name = index == 0 ? kind : $"{kind}:{index}";
        Context context = NewContext(kind);
        try
        {
            var found = context.Devices.Where(device => device.AcceleratorType != AcceleratorType.CPU && LimitOf(device) is null).ToList();
            if (index < found.Count)
                return new GpuDevice(name, context, found[index].CreateAccelerator(context));
            string? problem = Find(kind).FirstOrDefault(info => info.Problem is not null)?.Problem;
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

    /// <summary>Every accelerator of a kind, usable or not; if there is none, one entry that says why.</summary>
    public static IReadOnlyList<DeviceInfo> List(string kind)
    {
        if (!RuntimeFeature.IsDynamicCodeSupported)
            return [new DeviceInfo(kind, "", 0, [], NeedsDynamicCode)];
        using Lock.Scope scope = Gate.EnterScope();
        return Find(kind);
    }

    private static List<DeviceInfo> Find(string kind)
    {
        var result = new List<DeviceInfo>();
        if (kind == "cuda")
            Collect(result, kind, "libcuda.so.1 or nvcuda.dll, which comes with NVIDIA's driver", () => [.. CudaDevice.GetDevices(_ => true)]);
        else
            Collect(result, kind, "libOpenCL.so.1 or OpenCL.dll, which comes with the vendor's driver (on Debian: ocl-icd-libopencl1 and a driver, such as pocl-opencl-icd)", () => [.. CLDevice.GetDevices(_ => true)]);
        return result;
    }

    /// <summary>The first accelerator that is a real GPU, or null.</summary>
    public static string? Best() => List("cuda").Concat(List("opencl")).FirstOrDefault(info => info is { Problem: null, IsGpu: true })?.Name;

    /// <summary>One line about a failure of a driver or of ILGPU's compiler; null for other failures.</summary>
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
        GpuTensorCores.Register(builder);
    });

    /// <summary>
    /// True if ILGPU is to use an OpenCL device. ILGPU itself refuses devices without the generic address space, but the code that it generates for
    /// GPUs states the address space of every pointer. The kernels for CPUs do need it.
    /// </summary>
    private static bool Accepts(CLDevice device)
    {
        if (IsProcessor(device))
            return device.Capabilities.GenericAddressSpace;
        SetGenericAddressSpace(device.Capabilities, true);
        return device.CVersion >= CLCVersion.CL12;
    }

    // The constructor of ILGPU's accelerator checks the capability again.
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
        CLDevice { Capabilities.GenericAddressSpace: false } when IsProcessor(device) => "it has no generic address space, which the kernels for CPUs need (PoCL has it from version 5 on)",
        CLDevice cl => $"ILGPU refuses it; it needs OpenCL C {CLCVersion.CL12}, and the device reports {cl.CVersion}",
        _ => "its architecture or driver is unknown to ILGPU 1.5",
    };

    private static string? LimitOf(ILGPU.Runtime.Device device) => GpuLimits.ProblemOf(device.MaxNumThreadsPerGroup, device.MaxSharedMemoryPerGroup, IsProcessor(device));

    /// <summary>True for OpenCL devices that are CPUs.</summary>
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
        ("tensor cores", GpuTensorCores.Supports(device) ? "tf32, bf16" : "none used, products are f32"),
    ];

    /// <summary>ILGPU loads the library names of development packages; drivers install only names with a version.</summary>
    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? path)
    {
        string? versioned = name switch { "OpenCL" => "libOpenCL.so.1", "cuda" => "libcuda.so.1", _ => null };
        return versioned is not null && OperatingSystem.IsLinux() && NativeLibrary.TryLoad(versioned, out nint handle) ? handle : 0;
    }
}
