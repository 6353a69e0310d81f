using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using ILGPU;
using ILGPU.Backends.OpenCL;
using ILGPU.Backends.PTX;
using ILGPU.Frontend;
using ILGPU.Frontend.Intrinsic;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;
using ILGPU.IR.Values;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Intrinsics of the lanes that ILGPU lacks: fused multiply-add, rounding to even (ILGPU would compute it from bits, with branches), the bits of a
/// float as an unsigned integer, vectors of sixteen floats for OpenCL on CPUs, and the comparison of floats: if the left side is a constant, ILGPU swaps
/// the sides in a way that is true for NaN, and in PTX the larger of 1 and NaN would be 1.
/// </summary>
internal static class GpuMath
{
    private const BindingFlags Members = BindingFlags.Static | BindingFlags.NonPublic;

    static GpuMath()
    {
        Redirect(typeof(MathF), nameof(MathF.FusedMultiplyAdd), [typeof(float), typeof(float), typeof(float)], Method(nameof(Fma)));
        Redirect(typeof(F1), nameof(F1.IsLess), [typeof(float), typeof(float)], Method(nameof(Less)));
        Redirect(typeof(MathF), nameof(MathF.Round), [typeof(float)], Method(nameof(Round)));
        Redirect(typeof(BitConverter), nameof(BitConverter.SingleToUInt32Bits), [typeof(float)], typeof(Interop).GetMethod(nameof(Interop.FloatAsInt), [typeof(float)])!);
        Redirect(typeof(BitConverter), nameof(BitConverter.UInt32BitsToSingle), [typeof(uint)], typeof(Interop).GetMethod(nameof(Interop.IntAsFloat), [typeof(uint)])!);
    }

    /// <summary>Adds the functions to a context that is being built.</summary>
    public static void Register(Context.Builder builder)
    {
        IntrinsicImplementationManager manager = builder.GetIntrinsicManager();
        manager.RegisterMethod(Method(nameof(Fma)), new CLIntrinsic(Method(nameof(GenerateFma)), IntrinsicImplementationMode.GenerateCode));
        manager.RegisterMethod(LineMethod(nameof(Line.Add)), new CLIntrinsic(Method(nameof(GenerateAddLine)), IntrinsicImplementationMode.GenerateCode));
        manager.RegisterMethod(LineMethod(nameof(Line.Copy)), new CLIntrinsic(Method(nameof(GenerateCopyLine)), IntrinsicImplementationMode.GenerateCode));
        manager.RegisterMethod(Method(nameof(Fma)), new PTXIntrinsic(Method(nameof(GeneratePtxFma)), IntrinsicImplementationMode.GenerateCode));
        manager.RegisterMethod(Method(nameof(Round)), new CLIntrinsic(Method(nameof(GenerateRound)), IntrinsicImplementationMode.GenerateCode));
        manager.RegisterMethod(Method(nameof(Round)), new PTXIntrinsic(Method(nameof(GeneratePtxRound)), IntrinsicImplementationMode.GenerateCode));
        manager.RegisterMethod(Method(nameof(Less)), new CLIntrinsic(Method(nameof(GenerateLess)), IntrinsicImplementationMode.GenerateCode));
        manager.RegisterMethod(Method(nameof(Less)), new PTXIntrinsic(Method(nameof(GeneratePtxLess)), IntrinsicImplementationMode.GenerateCode));
    }

    [IntrinsicImplementation]
    private static float Fma(float a, float b, float c) => MathF.FusedMultiplyAdd(a, b, c);

    private static void GenerateFma(CLBackend backend, CLCodeGenerator generator, Value value) => Emit(generator, (MethodCall)value, "fma");

    // PoCL implements vload16 and vstore16 with vectors of four, which LLVM does not keep in one register.
    private static void GenerateAddLine(CLBackend backend, CLCodeGenerator generator, Value value)
    {
        var call = (MethodCall)value;
        var target = generator.Load(call[0]);
        var factor = generator.Load(call[1]);
        var source = generator.Load(call[2]);
        using CLCodeGenerator.StatementEmitter statement = generator.BeginStatement($"{{ typedef float line __attribute__((ext_vector_type(16), aligned(4))); *(line*){target} = fma((float16)({factor}), *(line*){source}, *(line*){target}); }}");
    }

    private static void GenerateCopyLine(CLBackend backend, CLCodeGenerator generator, Value value)
    {
        var call = (MethodCall)value;
        var target = generator.Load(call[0]);
        var source = generator.Load(call[1]);
        using CLCodeGenerator.StatementEmitter statement = generator.BeginStatement($"{{ typedef float line __attribute__((ext_vector_type(16), aligned(4))); *(line*){target} = *(line*){source}; }}");
    }

    private static void GeneratePtxFma(PTXBackend backend, PTXCodeGenerator generator, Value value) => Emit(generator, (MethodCall)value, "fma.rn.f32");

    [IntrinsicImplementation]
    private static float Round(float value) => MathF.Round(value);

    private static void GenerateRound(CLBackend backend, CLCodeGenerator generator, Value value) => Emit(generator, (MethodCall)value, "rint");

    private static void GeneratePtxRound(PTXBackend backend, PTXCodeGenerator generator, Value value) => Emit(generator, (MethodCall)value, "cvt.rni.f32.f32");

    [IntrinsicImplementation]
    private static bool Less(float left, float right) => F1.IsLess(left, right);

    private static void GenerateLess(CLBackend backend, CLCodeGenerator generator, Value value)
    {
        var call = (MethodCall)value;
        var left = generator.Load(call[0]);
        var right = generator.Load(call[1]);
        using CLCodeGenerator.StatementEmitter statement = generator.BeginStatement(generator.Allocate(value));
        statement.AppendArgument(left);
        statement.AppendCommand("<");
        statement.AppendArgument(right);
    }

    private static void GeneratePtxLess(PTXBackend backend, PTXCodeGenerator generator, Value value) => Emit(generator, (MethodCall)value, "setp.lt.f32");

    /// <summary>Emits an OpenCL function call.</summary>
    private static void Emit(CLCodeGenerator generator, MethodCall call, string function)
    {
        var arguments = new CLCodeGenerator.Variable[call.Count];
        for (int i = 0; i < arguments.Length; i++)
            arguments[i] = generator.Load(call[i]);
        using CLCodeGenerator.StatementEmitter statement = generator.BeginStatement(generator.Allocate(call));
        statement.AppendCommand(function);
        statement.BeginArguments();
        foreach (CLCodeGenerator.Variable argument in arguments)
            statement.AppendArgument(argument);
        statement.EndArguments();
    }

    /// <summary>Emits a PTX instruction.</summary>
    private static void Emit(PTXCodeGenerator generator, MethodCall call, string instruction)
    {
        var arguments = new PTXCodeGenerator.PrimitiveRegister[call.Count];
        for (int i = 0; i < arguments.Length; i++)
            arguments[i] = generator.LoadPrimitive(call[i]);
        var target = generator.AllocateHardware(call);
        using PTXCodeGenerator.CommandEmitter command = generator.BeginCommand(instruction);
        command.AppendArgument(target);
        foreach (PTXCodeGenerator.PrimitiveRegister argument in arguments)
            command.AppendArgument(argument);
    }

    private static MethodInfo Method(string name) => typeof(GpuMath).GetMethod(name, Members)!;

    private static MethodInfo LineMethod(string name) => typeof(Line).GetMethod(name)!;

    [UnconditionalSuppressMessage("Trimming", "IL2070", Justification = GpuDevices.NeedsDynamicCode)]
    private static void Redirect(Type type, string name, Type[] parameters, MethodInfo target) =>
        RemappedIntrinsics.AddRemapping(type.GetMethod(name, Members | BindingFlags.Public, parameters)!, (ref InvocationContext context) => context.Method = target);
}
