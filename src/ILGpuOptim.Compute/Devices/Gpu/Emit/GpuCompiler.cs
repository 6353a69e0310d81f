using System.Collections.Immutable;
using System.Reflection;
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Backends;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.OpenCL;
using ILGPU.Backends.PTX;
using ILGPU.Frontend;
using ILGPU.IR;
using ILGPU.IR.Transformations;
using ILGPU.IR.Types;
using ILGPU.IR.Values;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Compiles kernels. ILGPU inlines and optimizes a kernel first and substitutes the values of its specialized parameters
/// afterwards, so it processes everything that a launch does not need: seconds for a product, whose every access knows six storage types.
/// Here the values are substituted first. Then calls are inlined one level at a time, folding constants and removing dead branches in
/// between. The code is the same, in a tenth of the time.
/// </summary>
/// <param name="context">ILGPU's context.</param>
/// <param name="backend">Its code generator for a device.</param>
/// <param name="cache">Keeps sources between runs; or null.</param>
internal sealed class GpuCompiler(Context context, Backend backend, GpuKernelCache? cache = null) : IDisposable
{
    private readonly Backend backend = KeepOrder(backend);

    // The stages; a context records which of its methods passed the first.
    private static readonly Transformer
        Tidy = Transformer.Create(new TransformerConfiguration(MethodTransformationFlags.Transformed, MethodTransformationFlags.None), new SimplifyControlFlow(), new SSAConstruction(), new DeadCodeElimination()),
        InlineShort = Transformer.Create(TransformerConfiguration.Transformed, new Inliner(), new SimplifyControlFlow(), new SSAConstruction(), new DeadCodeElimination()),
        Promote = Transformer.Create(TransformerConfiguration.Empty, new SSAConstruction(), new DeadCodeElimination()),
        DropBranches = Transformer.Create(TransformerConfiguration.Empty, new UnreachableCodeElimination(), new DeadCodeElimination(), new SimplifyControlFlow());

    /// <summary>A compiler without a device and a driver.</summary>
    /// <param name="target"><c>ptx</c> or <c>opencl</c>.</param>
    /// <param name="architecture">The compute capability of PTX, such as 80.</param>
    /// <param name="cache">Keeps sources between runs; or null.</param>
    public static GpuCompiler For(string target, int architecture, GpuKernelCache? cache = null)
    {
        Context context = GpuDevices.NewContext(null);
        if (target != "ptx")
            return new GpuCompiler(context, new CLBackend(context, new CLCapabilityContext(float16: false, float64: false, genericAddressSpace: true, int64_Atomics: false, subGroups: false), CLDeviceVendor.Other, CLCVersion.CL20), cache);
        var cuda = new CudaArchitecture(architecture / 10, architecture % 10);
        CudaInstructionSet instructions = architecture < 80 ? CudaInstructionSet.ISA_60 : architecture < 90 ? CudaInstructionSet.ISA_70 : CudaInstructionSet.ISA_78;
        return new GpuCompiler(context, new PTXBackend(context, new CudaCapabilityContext(cuda), cuda, instructions, null), cache);
    }

    /// <summary>Compiles a kernel for given values of its specialized parameters, which stay in the signature, unused.</summary>
    /// <param name="kernel">A static method, explicitly grouped.</param>
    /// <param name="constants">Values of type <see cref="SpecializedValue{T}"/>, in the order of such parameters.</param>
    /// <param name="limits">Launch bounds, which limit its registers.</param>
    public CompiledKernel Compile(MethodInfo kernel, IReadOnlyList<object> constants, in KernelSpecialization limits)
    {
        if (cache is null)
            return Generate(kernel, constants, limits);
        string key = KeyOf(kernel, constants, limits);
        if (cache.Read(key) is { } kept && Restore(kernel, limits, kept) is { } restored)
            return restored;
        CompiledKernel compiled = Generate(kernel, constants, limits);
        cache.Write(key, compiled switch
        {
            CLCompiledKernel cl => new GpuKernelSource(cl.Source, EntryOf(cl).SharedMemory.StaticSize, ((SeparateViewEntryPoint)EntryOf(cl)).NumImplementationFieldsPerView),
            _ => new GpuKernelSource(((PTXCompiledKernel)compiled).PTXAssembly, EntryOf(compiled).SharedMemory.StaticSize, 0),
        });
        return compiled;
    }

    /// <summary>Identifies what <see cref="Compile"/> returns.</summary>
    internal string KeyOf(MethodInfo kernel, IReadOnlyList<object> constants, in KernelSpecialization limits)
    {
        string target = backend switch
        {
            PTXBackend ptx => $"ptx {ptx.Architecture} {ptx.InstructionSet}",
            CLBackend { Capabilities: var has } cl =>
                $"opencl {cl.CLStdVersion} {cl.Vendor} {cl.Platform} {has.Float16} {has.Float64} {has.GenericAddressSpace} {has.Int64_Atomics} {has.SubGroups}",
            _ => throw new NotSupportedException($"no kernels are compiled by {backend.GetType().Name}"),
        };
        return GpuKernelCache.Key(target, kernel, constants, limits);
    }

    /// <summary>The kernel of a source that was kept, or null if the source has another entry point.</summary>
    private CompiledKernel? Restore(MethodInfo kernel, in KernelSpecialization limits, in GpuKernelSource kept)
    {
        EntryPointDescription description = EntryPointDescription.FromExplicitlyGroupedKernel(kernel);
        var shared = new SharedMemorySpecification(kept.SharedBytes, hasDynamicMemory: false);
        var info = new CompiledKernel.KernelInfo(default, []);
        CompiledKernel restored = backend is CLBackend cl
            ? new CLCompiledKernel(context, new SeparateViewEntryPoint(description, shared, limits, new TypeInformationManager(), kept.FieldsPerView), info, kept.Text, cl.CLStdVersion)
            : NewPtxKernel(context, new EntryPoint(description, shared, limits), info, kept.Text);
        return kept.Text.Contains(restored.Name, StringComparison.Ordinal) ? restored : null;
    }

    private CompiledKernel Generate(MethodInfo kernel, IReadOnlyList<object> constants, in KernelSpecialization limits)
    {
        EntryPointDescription entry = EntryPointDescription.FromExplicitlyGroupedKernel(kernel);
        var current = new IRContext(context);
        Method method = current.Import(Translate(kernel));
        Specialize(method, entry, constants);
        do
        {
            // Importing into a new context folds constants.
            IRContext before = current;
            current = new IRContext(context);
            method = current.Import(method);
            before.Dispose();
            current.Transform(DropBranches);
        }
        while (InlineCalls(method, current));

        using (current)
        {
            current.Optimize();
            return GpuSource.Correct(backend.Compile(method, entry, limits));
        }
    }

    /// <summary>The source of a kernel for given values of its specialized parameters.</summary>
    public string Source(RecordedKernel kernel) => Compile(kernel.Method, kernel.Constants, kernel.Limits) switch
    {
        PTXCompiledKernel ptx => ptx.PTXAssembly,
        CLCompiledKernel cl => cl.Source,
        CompiledKernel other => throw new NotSupportedException($"no source of {other.GetType().Name}"),
    };

    /// <summary>
    /// Keeps accesses to memory, calls of intrinsics and barriers in their order. ILGPU places them close to their first use, without a look at what is between in the same block, so that a
    /// product on tensor cores moved behind a barrier. All else is still placed where it is used.
    /// </summary>
    private static Backend KeepOrder(Backend backend)
    {
        TransformersOf(backend, [.. TransformersOf(backend).Select(transformer => Transformer.Create(
            transformer.Configuration,
            [.. transformer.Transformations.Select(pass => pass is CodePlacement<CodePlacement.GroupOperands> ? new CodePlacement<CodePlacement.GroupOperands>(CodePlacementMode.Default) : pass)]))]);
        return backend;
    }

    /// <summary>Disposes a compiler without a device.</summary>
    public void Dispose()
    {
        backend.Dispose();
        context.Dispose();
    }

    // ILGPU offers no other access.
    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "get_KernelTransformers")]
    private static extern ImmutableArray<Transformer> TransformersOf(Backend backend);

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "set_KernelTransformers")]
    private static extern void TransformersOf(Backend backend, ImmutableArray<Transformer> transformers);

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "get_EntryPoint")]
    private static extern EntryPoint EntryOf(CompiledKernel kernel);

    [UnsafeAccessor(UnsafeAccessorKind.Constructor)]
    private static extern PTXCompiledKernel NewPtxKernel(Context context, EntryPoint entryPoint, CompiledKernel.KernelInfo? info, string ptxAssembly);

    /// <summary>Translates a kernel and its callees to ILGPU's IR, in SSA form, with only straight-line methods inlined.</summary>
    private Method Translate(MethodInfo kernel)
    {
        using ContextCodeGenerationPhase phase = context.BeginCodeGeneration();
        CodeGenerationResult result;
        using (CodeGenerationPhase frontend = phase.BeginFrontendCodeGeneration())
            result = frontend.GenerateCode(kernel);
        if (phase.IsFaulted || result.Result is null)
            throw phase.LastException ?? new InvalidOperationException($"{kernel.Name} cannot be compiled");
        IRContext methods = phase.IRContext;
        methods.Transform(Tidy);
        foreach (Method method in methods.Methods)
        {
            if ((method.TransformationFlags & MethodTransformationFlags.Transformed) == 0 && method.HasImplementation && method.Blocks.Count > 1)
                method.RemoveFlags(MethodFlags.Inline);
        }

        methods.Transform(InlineShort);
        return result.Result;
    }

    /// <summary>Puts the bodies of the methods that a kernel calls into it, but not of those that they call. Returns whether there was any.</summary>
    private static bool InlineCalls(Method kernel, IRContext methods)
    {
        bool any = false;
        using (Method.Builder builder = kernel.CreateBuilder())
        {
            foreach (BasicBlock block in kernel.Blocks.ToArray())
            {
                BasicBlock rest = block;
                foreach (MethodCall call in block.Select(entry => entry.Value).OfType<MethodCall>().Where(call => call.Target.HasImplementation).ToArray())
                {
                    rest = builder[rest].SpecializeCall(call).BasicBlock;
                    any = true;
                }
            }

            builder.Complete();
        }

        if (any)
            methods.Transform(Promote);
        return any;
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

/// <summary>A recorded launch of a kernel.</summary>
/// <param name="Method">The kernel, with its rule as type argument.</param>
/// <param name="Constants">The values of its specialized parameters.</param>
/// <param name="Threads">Threads of a group.</param>
/// <param name="Limits">Launch bounds, which limit its registers.</param>
internal sealed record RecordedKernel(MethodInfo Method, IReadOnlyList<object> Constants, int Threads, KernelSpecialization Limits)
{
    /// <summary>Identifies the code: equal for launches of the same kernel with the same constants.</summary>
    public string Key => $"{Method.DeclaringType!.Name}.{Method.Name}<{string.Join(", ", Method.GetGenericArguments().Select(NameOf))}>({string.Join(", ", Constants)})";

    /// <summary>True if only CUDA devices from compute capability 8.0 on have its instructions.</summary>
    public bool NeedsTensorCores => Method.IsDefined(typeof(TensorCoresAttribute), inherit: false);

    /// <summary>The kernel and its rule, for people.</summary>
    public string Title => $"{Method.DeclaringType!.Name}.{Method.Name}{(Method.IsGenericMethod ? $" of {string.Join(", ", Method.GetGenericArguments().Select(NameOf))}" : "")}";

    /// <summary>The name as in C#, without the lift of rules with fewer than six operands.</summary>
    private static string NameOf(Type type) => type.IsGenericType && type.Name.StartsWith("Lift", StringComparison.Ordinal) ? NameOf(type.GetGenericArguments()[0]) :
        (type.DeclaringType is { } outer && !type.IsGenericParameter ? $"{outer.Name.Split('`')[0]}." : "") + type.Name.Split('`')[0]
        + (type.IsGenericType ? $"<{string.Join(", ", type.GetGenericArguments().Select(NameOf))}>" : "");
}
