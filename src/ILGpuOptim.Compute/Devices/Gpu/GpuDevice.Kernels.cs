using System.Reflection;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.CPU;
using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Compute;

// Kernels: loaded once for each rule, or recorded instead of launched.
public sealed partial class GpuDevice
{
    private readonly Dictionary<string, RecordedKernel>? recorded;

    /// <summary>The kernels that a recording device would have launched, in order.</summary>
    internal IEnumerable<RecordedKernel> Recorded
    {
        get
        {
            pending.Launch();
            return recorded?.Values ?? throw new InvalidOperationException("this device executes its kernels; only a recording device lists them");
        }
    }

    internal void ClearRecorded()
    {
        pending.Launch();
        recorded?.Clear();
    }

    /// <summary>
    /// A device that records kernels instead of launching them; its memory is real and does not change. For printing kernels, and for
    /// checking that all compile for hardware that is not present.
    /// </summary>
    internal static GpuDevice Recorder(bool asProcessor = false)
    {
        Context context = Context.Create(builder => builder.CPU());
        return new GpuDevice("recorder", context, context.CreateCPUAccelerator(0), asProcessor, []);
    }

    private Action<KernelConfig, T1, T2> Load<T1, T2>(Action<T1, T2> kernel, KernelSpecialization limits = default)
        where T1 : struct
        where T2 : struct
    {
        if (recorded is not null)
            return (config, a, b) => Record(kernel, limits, config, a, b);
        GpuKernel<T2, Action<AcceleratorStream, KernelConfig, T1, T2>> loaded = Compiled<T2, Action<AcceleratorStream, KernelConfig, T1, T2>>(kernel, limits);
        return (config, a, b) => loaded.For(b)(Stream, config, a, b);
    }

    private Action<KernelConfig, T1, T2, T3> Load<T1, T2, T3>(Action<T1, T2, T3> kernel, KernelSpecialization limits = default)
        where T1 : struct
        where T2 : struct
        where T3 : struct
    {
        if (recorded is not null)
            return (config, a, b, c) => Record(kernel, limits, config, a, b, c);
        GpuKernel<T3, Action<AcceleratorStream, KernelConfig, T1, T2, T3>> loaded = Compiled<T3, Action<AcceleratorStream, KernelConfig, T1, T2, T3>>(kernel, limits);
        return (config, a, b, c) => loaded.For(c)(Stream, config, a, b, c);
    }

    private Action<KernelConfig, T1, T2, T3, T4> Load<T1, T2, T3, T4>(Action<T1, T2, T3, T4> kernel)
        where T1 : struct
        where T2 : struct
        where T3 : struct
        where T4 : struct
    {
        if (recorded is not null)
            return (config, a, b, c, d) => Record(kernel, default, config, a, b, c, d);
        GpuKernel<T4, Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4>> loaded = Compiled<T4, Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4>>(kernel, default);
        return (config, a, b, c, d) => loaded.For(d)(Stream, config, a, b, c, d);
    }

    private Action<KernelConfig, T1, T2, T3, T4, T5> Load<T1, T2, T3, T4, T5>(Action<T1, T2, T3, T4, T5> kernel)
        where T1 : struct
        where T2 : struct
        where T3 : struct
        where T4 : struct
        where T5 : struct
    {
        if (recorded is not null)
            return (config, a, b, c, d, e) => Record(kernel, default, config, a, b, c, d, e);
        GpuKernel<T5, Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5>> loaded = Compiled<T5, Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5>>(kernel, default);
        return (config, a, b, c, d, e) => loaded.For(e)(Stream, config, a, b, c, d, e);
    }

    private Action<KernelConfig, T1, T2, T3, T4, T5, T6> Load<T1, T2, T3, T4, T5, T6>(Action<T1, T2, T3, T4, T5, T6> kernel)
        where T1 : struct
        where T2 : struct
        where T3 : struct
        where T4 : struct
        where T5 : struct
        where T6 : struct
    {
        if (recorded is not null)
            return (config, a, b, c, d, e, f) => Record(kernel, default, config, a, b, c, d, e, f);
        GpuKernel<T6, Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6>> loaded = Compiled<T6, Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6>>(kernel, default);
        return (config, a, b, c, d, e, f) => loaded.For(f)(Stream, config, a, b, c, d, e, f);
    }

    private Action<KernelConfig, T1, T2, T3, T4, T5, T6, T7> Load<T1, T2, T3, T4, T5, T6, T7>(Action<T1, T2, T3, T4, T5, T6, T7> kernel)
        where T1 : struct
        where T2 : struct
        where T3 : struct
        where T4 : struct
        where T5 : struct
        where T6 : struct
        where T7 : struct
    {
        if (recorded is not null)
            return (config, a, b, c, d, e, f, g) => Record(kernel, default, config, a, b, c, d, e, f, g);
        GpuKernel<T7, Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6, T7>> loaded = Compiled<T7, Action<AcceleratorStream, KernelConfig, T1, T2, T3, T4, T5, T6, T7>>(kernel, default);
        return (config, a, b, c, d, e, f, g) => loaded.For(g)(Stream, config, a, b, c, d, e, f, g);
    }

    /// <summary>Launch bounds: threads per group and groups per multiprocessor, which limit a kernel's registers.</summary>
    private static KernelSpecialization Limits(int threads, int groups) => new(threads, groups);

    /// <summary>A kernel to launch; makes its types visible to the launcher.</summary>
    private GpuKernel<TLast, TLauncher> Compiled<TLast, TLauncher>(Delegate kernel, in KernelSpecialization limits)
        where TLast : struct
        where TLauncher : Delegate
    {
        foreach (ParameterInfo parameter in kernel.Method.GetParameters())
            visibility.Allow(parameter.ParameterType);
        return new GpuKernel<TLast, TLauncher>(Accelerator, compiler, kernel.Method, limits);
    }

    private void Record(Delegate kernel, KernelSpecialization limits, KernelConfig config, params object[] arguments)
    {
        // Only its type identifies a specialized value.
        object[] constants = [.. arguments.Where(argument => argument.GetType() is { IsGenericType: true } type && type.GetGenericTypeDefinition() == typeof(SpecializedValue<>))];
        var entry = new RecordedKernel(kernel.Method, constants, config.GroupDim.Size, limits);
        recorded!.TryAdd(entry.Key, entry);
    }
}
