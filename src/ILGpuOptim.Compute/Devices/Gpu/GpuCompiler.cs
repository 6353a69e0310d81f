using System.Reflection;
using ILGPU;
using ILGPU.Backends;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.OpenCL;
using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Values;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>Compiles kernels to source text, with no device or driver.</summary>
internal sealed class GpuCompiler : IDisposable
{
    private readonly Context context = GpuDevices.NewContext(null);
    private readonly Backend backend;

    /// <param name="target"><c>ptx</c> or <c>opencl</c>.</param>
    /// <param name="architecture">Of PTX: the compute capability, such as 80.</param>
    public GpuCompiler(string target, int architecture)
    {
        if (target == "ptx")
        {
            var cuda = new CudaArchitecture(architecture / 10, architecture % 10);
            backend = new PTXBackend(context, new CudaCapabilityContext(cuda), cuda, architecture < 80 ? CudaInstructionSet.ISA_60 : architecture < 90 ? CudaInstructionSet.ISA_70 : CudaInstructionSet.ISA_78, null);
        }
        else
        {
            backend = new CLBackend(context, new CLCapabilityContext(false, true, true, true, false), CLDeviceVendor.Other, CLCVersion.CL20);
        }
    }

    /// <summary>The source of a kernel with its specialised parameters at given values.</summary>
    public string Compile(RecordedKernel kernel)
    {
        EntryPointDescription entry = EntryPointDescription.FromExplicitlyGroupedKernel(kernel.Method);
        using var specialized = new IRContext(context);
        Method method = specialized.Import(backend.PreCompileKernelMethod(entry));
        Specialize(method, entry, kernel.Constants);
        specialized.Optimize();
        return backend.Compile(method, entry, default) switch
        {
            PTXCompiledKernel ptx => ptx.PTXAssembly,
            CLCompiledKernel cl => cl.Source,
            CompiledKernel other => throw new NotSupportedException($"no source of {other.GetType().Name}"),
        };
    }

    public void Dispose()
    {
        backend.Dispose();
        context.Dispose();
    }

    /// <summary>Puts constants in the place of a kernel's specialised parameters; the parameters stay, unused.</summary>
    private static void Specialize(Method kernel, in EntryPointDescription entry, IReadOnlyList<object> constants)
    {
        using Method.Builder builder = kernel.CreateBuilder();
        BasicBlock.Builder block = builder.EntryBlockBuilder;
        block.SetupInsertPositionToStart();
        var specialized = entry.Parameters.SpecializedParameters;
        for (int i = 0; i < specialized.Length; i++)
        {
            Value constant = block.CreateValue(kernel.Location, constants[i], constants[i].GetType());
            kernel.Parameters[specialized[i].Index + entry.KernelIndexParameterOffset].Replace(constant);
        }
    }
}

/// <summary>A kernel that would have been launched.</summary>
/// <param name="Method">The kernel, with its rule as type argument.</param>
/// <param name="Constants">The values of its specialised parameters.</param>
/// <param name="Threads">Threads of a group.</param>
internal sealed record RecordedKernel(MethodInfo Method, IReadOnlyList<object> Constants, int Threads)
{
    /// <summary>Two launches of the same code have the same key.</summary>
    public string Key => $"{Method.DeclaringType!.Name}.{Method.Name}<{string.Join(", ", Method.GetGenericArguments().Select(NameOf))}>({string.Join(", ", Constants)})";

    /// <summary>The kernel and its rule, for people.</summary>
    public string Title => $"{Method.DeclaringType!.Name}.{Method.Name}{(Method.IsGenericMethod ? $" of {string.Join(", ", Method.GetGenericArguments().Select(NameOf))}" : "")}";

    /// <summary>The name as in C#; that a rule of few operands was lifted to six says nothing.</summary>
    private static string NameOf(Type type) => type.IsGenericType && type.Name.StartsWith("Lift", StringComparison.Ordinal) ? NameOf(type.GetGenericArguments()[0]) :
        (type.DeclaringType is { } outer && !type.IsGenericParameter ? $"{outer.Name.Split('`')[0]}." : "") + type.Name.Split('`')[0]
        + (type.IsGenericType ? $"<{string.Join(", ", type.GetGenericArguments().Select(NameOf))}>" : "");
}
