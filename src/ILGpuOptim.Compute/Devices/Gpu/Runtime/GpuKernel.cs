using System.Reflection;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>A kernel on a device: compiled at its first launch, once for each value of its last parameter if that is specialized.</summary>
internal sealed class GpuKernel<TLast, TLauncher>(Accelerator accelerator, GpuCompiler compiler, MethodInfo method, KernelSpecialization limits)
    where TLast : struct
    where TLauncher : Delegate
{
    private static readonly bool Specialized = typeof(TLast).IsGenericType && typeof(TLast).GetGenericTypeDefinition() == typeof(SpecializedValue<>);

    private readonly Dictionary<TLast, TLauncher> launchers = [];

    /// <summary>The launcher for this value of the last argument.</summary>
    public TLauncher For(TLast last)
    {
        TLast constant = Specialized ? last : default;
        if (!launchers.TryGetValue(constant, out TLauncher? launcher))
            launchers[constant] = launcher = accelerator.LoadKernel(compiler.Compile(method, Specialized ? [constant] : [], limits)).CreateLauncherDelegate<TLauncher>();
        return launcher;
    }
}
