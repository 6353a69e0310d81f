using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;
using ILGPU;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Gives ILGPU's emitted code access to rules that are not public. For CUDA it packs a kernel's arguments into an emitted structure,
/// whose fields have the rules' types, and the runtime refuses private types there; most rules are private.
/// </summary>
internal sealed class GpuVisibility
{
    private static readonly ConstructorInfo Attribute = typeof(IgnoresAccessChecksToAttribute).GetConstructor([typeof(string)])!;

    private readonly AssemblyBuilder emitted;
    private readonly ConcurrentDictionary<Assembly, bool> allowed = new();

    /// <summary>Finds the assembly that a context emits into, which ILGPU 1.5 does not expose.</summary>
    /// <exception cref="InvalidOperationException">This version of ILGPU has another layout.</exception>
    [UnconditionalSuppressMessage("Trimming", "IL2075", Justification = GpuDevices.NeedsDynamicCode)]
    public GpuVisibility(Context context)
    {
        object? system = typeof(Context).GetProperty("RuntimeSystem")?.GetValue(context);
        emitted = system?.GetType().GetField("assemblyBuilder", BindingFlags.NonPublic | BindingFlags.Instance)?.GetValue(system) as AssemblyBuilder
            ?? throw new InvalidOperationException("ILGPU's assembly of launchers was not found; this version of ILGPU is not supported");
    }

    /// <summary>Gives access to the assemblies of a type and of its type arguments.</summary>
    public void Allow(Type type)
    {
        if (allowed.TryAdd(type.Assembly, true) && type.Assembly != typeof(object).Assembly)
            emitted.SetCustomAttribute(new CustomAttributeBuilder(Attribute, [type.Assembly.GetName().Name!]));
        foreach (Type argument in type.GenericTypeArguments)
            Allow(argument);
    }
}
