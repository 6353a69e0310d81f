using System.Reflection;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>A kernel on a device: compiled when it is first launched, once for each value of its last parameter when that is specialised.</summary>
internal sealed class GpuKernel<TLast, TLauncher>(Accelerator accelerator, GpuCompiler compiler, MethodInfo method, KernelSpecialization limits)
    where TLast : struct
    where TLauncher : Delegate
{
    private static readonly bool Specialized = typeof(TLast).IsGenericType && typeof(TLast).GetGenericTypeDefinition() == typeof(SpecializedValue<>);

    private readonly Dictionary<TLast, TLauncher> launchers = [];

    /// <summary>What launches the kernel when its last argument is this.</summary>
    public TLauncher For(TLast last)
    {
        TLast constant = Specialized ? last : default;
        if (!launchers.TryGetValue(constant, out TLauncher? launcher))
            launchers[constant] = launcher = accelerator.LoadKernel(compiler.Compile(method, Specialized ? [constant] : [], limits)).CreateLauncherDelegate<TLauncher>();
        return launcher;
    }
}
