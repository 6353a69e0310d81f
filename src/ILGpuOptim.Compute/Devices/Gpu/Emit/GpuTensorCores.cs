using System.Reflection;
using ILGPU;
using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;
using ILGPU.IR.Types;
using ILGPU.IR.Values;
using ILGPU.Runtime.Cuda;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>Four registers of 32 bits: a fragment of a matrix, or 16 bytes.</summary>
internal struct Words4(uint a, uint b, uint c, uint d)
{
    public uint A = a, B = b, C = c, D = d;
}

/// <summary>Marks kernels that need tensor cores: CUDA, compute capability 8.0 or later.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class TensorCoresAttribute : Attribute;

/// <summary>
/// PTX instructions of tensor cores and asynchronous copies. Addresses of shared memory are 32-bit integers and those of global memory 64-bit integers, so that kernels compute
/// with them without conversions. All lanes of a warp execute <c>Multiply</c>, <c>LoadMatrices</c> and <c>LoadTransposed</c> together.
/// Fragments are laid out as the PTX ISA defines for m16n8k8 and m16n8k16; with g = lane / 4 and t = lane % 4, a lane holds the sums (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
/// </summary>
/// <remarks>ILGPU takes these calls for accesses to memory. <see cref="GpuCompiler"/> keeps their order, also relative to barriers.</remarks>
internal static class GpuTensorCores
{
    private const BindingFlags Members = BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic;

    /// <summary>The oldest compute capability with these instructions.</summary>
    public const int Architecture = 80;

    /// <summary>True if a device has these instructions.</summary>
    public static bool Supports(ILGPU.Runtime.Device device) => device is CudaDevice { Architecture: { } has } && has.Major * 10 + has.Minor >= Architecture;

    /// <summary>Adds the instructions to a context that is being built.</summary>
    public static void Register(Context.Builder builder)
    {
        IntrinsicImplementationManager manager = builder.GetIntrinsicManager();
        foreach ((string name, string generator) in ((string, string)[])
        [
            (nameof(SharedAddress), nameof(GenerateSharedAddress)), (nameof(GlobalAddress), nameof(GenerateGlobalAddress)),
            (nameof(MultiplyBf16), nameof(GenerateMultiplyBf16)), (nameof(MultiplyTf32), nameof(GenerateMultiplyTf32)), (nameof(RoundToTf32), nameof(GenerateRoundToTf32)),
            (nameof(RoundToBf16), nameof(GenerateRoundToBf16)), (nameof(Exp2), nameof(GenerateExp2)),
            (nameof(LoadMatrices), nameof(GenerateLoadMatrices)), (nameof(LoadTransposed), nameof(GenerateLoadTransposed)), (nameof(LoadShared), nameof(GenerateLoadShared)),
            (nameof(CopyAsync), nameof(GenerateCopyAsync)), (nameof(Commit), nameof(GenerateCommit)), (nameof(Wait), nameof(GenerateWait)),
        ])
            manager.RegisterMethod(Method(name), new PTXIntrinsic(Method(generator), IntrinsicImplementationMode.GenerateCode));
    }

    /// <summary>The address of an element of shared memory.</summary>
    [IntrinsicImplementation]
    public static int SharedAddress(ref Float4 element) => throw new NotSupportedException();

    /// <summary>The address of a byte of global memory.</summary>
    [IntrinsicImplementation]
    public static long GlobalAddress(ref byte element) => throw new NotSupportedException();

    /// <summary>sum + a · b with bf16 factors: a is 16 × 16, b is 16 × 8.</summary>
    [IntrinsicImplementation]
    public static Float4 MultiplyBf16(Float4 sum, Words4 a, uint b0, uint b1) => throw new NotSupportedException();

    /// <summary>sum + a · b with tf32 factors: a is 16 × 8, b is 8 × 8.</summary>
    [IntrinsicImplementation]
    public static Float4 MultiplyTf32(Float4 sum, Words4 a, uint b0, uint b1) => throw new NotSupportedException();

    /// <summary>The nearest tf32 of an f32, ties away from zero, both as bits; NaN and infinities stay.</summary>
    [IntrinsicImplementation]
    public static uint RoundToTf32(uint value) => throw new NotSupportedException();

    /// <summary>The nearest bf16 of two f32, ties to even; the first in the lower half.</summary>
    [IntrinsicImplementation]
    public static uint RoundToBf16(float low, float high) => throw new NotSupportedException();

    /// <summary>2ˣ with a relative error of at most 2⁻²²; results that are no normal numbers become zero.</summary>
    [IntrinsicImplementation]
    public static float Exp2(float x) => throw new NotSupportedException();

    /// <summary>
    /// Loads four matrices of eight rows of 16 bytes from shared memory. Lanes 8i to 8i + 7 give the addresses of the rows of matrix i. A lane gets four bytes of each: those from
    /// byte 4 (lane % 4) on of row lane / 4.
    /// </summary>
    [IntrinsicImplementation]
    public static Words4 LoadMatrices(int address) => throw new NotSupportedException();

    /// <summary>As <see cref="LoadMatrices"/> for transposed matrices of 16-bit elements: a lane gets column lane / 4 of rows 2 (lane % 4) and 2 (lane % 4) + 1.</summary>
    [IntrinsicImplementation]
    public static Words4 LoadTransposed(int address) => throw new NotSupportedException();

    /// <summary>Loads 32 bits from shared memory.</summary>
    [IntrinsicImplementation]
    public static uint LoadShared(int address) => throw new NotSupportedException();

    /// <summary>
    /// Starts to copy <paramref name="bytes"/> of 16 bytes from global to shared memory; the rest becomes zero. Both addresses are multiples of 16. With 0 bytes nothing is read.
    /// </summary>
    [IntrinsicImplementation]
    public static void CopyAsync(int shared, long global, int bytes) => throw new NotSupportedException();

    /// <summary>Makes the copies that were started since the last call one group.</summary>
    [IntrinsicImplementation]
    public static void Commit() => throw new NotSupportedException();

    /// <summary>Waits until at most <paramref name="groups"/> groups, a constant, of this thread are not complete. Other threads see the copies after a barrier.</summary>
    [IntrinsicImplementation]
    public static void Wait(int groups) => throw new NotSupportedException();

    private static void GenerateSharedAddress(PTXBackend backend, PTXCodeGenerator generator, Value value)
    {
        var call = (MethodCall)value;
        PTXCodeGenerator.HardwareRegister pointer = generator.LoadHardware(call[0]), target = generator.AllocateHardware(call);
        if (((PointerType)call[0].Type).AddressSpace != MemoryAddressSpace.Shared)
        {
            PTXCodeGenerator.HardwareRegister converted = generator.AllocatePlatformRegister(out _);
            using (PTXCodeGenerator.CommandEmitter command = generator.BeginCommand("cvta.to.shared.u64"))
            {
                command.AppendArgument(converted);
                command.AppendArgument(pointer);
            }

            pointer = converted;
        }

        using PTXCodeGenerator.CommandEmitter narrow = generator.BeginCommand("cvt.u32.u64");
        narrow.AppendArgument(target);
        narrow.AppendArgument(pointer);
    }

    private static void GenerateGlobalAddress(PTXBackend backend, PTXCodeGenerator generator, Value value)
    {
        var call = (MethodCall)value;
        bool isGlobal = ((PointerType)call[0].Type).AddressSpace == MemoryAddressSpace.Global;
        PTXCodeGenerator.HardwareRegister pointer = generator.LoadHardware(call[0]), target = generator.AllocateHardware(call);
        using PTXCodeGenerator.CommandEmitter command = generator.BeginCommand(isGlobal ? "mov.u64" : "cvta.to.global.u64");
        command.AppendArgument(target);
        command.AppendArgument(pointer);
    }

    private static void GenerateMultiplyBf16(PTXBackend backend, PTXCodeGenerator generator, Value value) =>
        Multiply(generator, (MethodCall)value, "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32");

    private static void GenerateMultiplyTf32(PTXBackend backend, PTXCodeGenerator generator, Value value) =>
        Multiply(generator, (MethodCall)value, "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32");

    private static void Multiply(PTXCodeGenerator generator, MethodCall call, string instruction)
    {
        PTXCodeGenerator.PrimitiveRegister[] sum = Fields(generator.Load(call[0])), a = Fields(generator.Load(call[1]));
        PTXCodeGenerator.PrimitiveRegister[] b = [generator.LoadPrimitive(call[2]), generator.LoadPrimitive(call[3])];
        PTXCodeGenerator.PrimitiveRegister[] target = Fields(generator.Allocate(call));
        using PTXCodeGenerator.CommandEmitter command = generator.BeginCommand(instruction);
        command.AppendVectorArgument(target);
        command.AppendVectorArgument(a);
        command.AppendVectorArgument(b);
        command.AppendVectorArgument(sum);
    }

    private static void GenerateRoundToTf32(PTXBackend backend, PTXCodeGenerator generator, Value value) => Compute(generator, (MethodCall)value, "cvt.rna.tf32.f32");

    // The instruction's first source is the upper half.
    private static void GenerateRoundToBf16(PTXBackend backend, PTXCodeGenerator generator, Value value) => Compute(generator, (MethodCall)value, "cvt.rn.bf16x2.f32", 1, 0);

    private static void GenerateExp2(PTXBackend backend, PTXCodeGenerator generator, Value value) => Compute(generator, (MethodCall)value, "ex2.approx.ftz.f32");

    private static void Compute(PTXCodeGenerator generator, MethodCall call, string instruction, params ReadOnlySpan<int> order)
    {
        var sources = new PTXCodeGenerator.PrimitiveRegister[call.Count];
        for (int i = 0; i < sources.Length; i++)
            sources[i] = generator.LoadPrimitive(call[order.Length == 0 ? i : order[i]]);
        PTXCodeGenerator.HardwareRegister target = generator.AllocateHardware(call);
        using PTXCodeGenerator.CommandEmitter command = generator.BeginCommand(instruction);
        command.AppendArgument(target);
        foreach (PTXCodeGenerator.PrimitiveRegister source in sources)
            command.AppendArgument(source);
    }

    private static void GenerateLoadMatrices(PTXBackend backend, PTXCodeGenerator generator, Value value) =>
        Load(generator, (MethodCall)value, "ldmatrix.sync.aligned.m8n8.x4.shared.b16");

    private static void GenerateLoadTransposed(PTXBackend backend, PTXCodeGenerator generator, Value value) =>
        Load(generator, (MethodCall)value, "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16");

    private static void Load(PTXCodeGenerator generator, MethodCall call, string instruction)
    {
        PTXCodeGenerator.HardwareRegister address = generator.LoadHardware(call[0]);
        PTXCodeGenerator.PrimitiveRegister[] target = Fields(generator.Allocate(call));
        using PTXCodeGenerator.CommandEmitter command = generator.BeginCommand(instruction);
        command.AppendVectorArgument(target);
        command.AppendArgumentValue(address);
    }

    private static void GenerateLoadShared(PTXBackend backend, PTXCodeGenerator generator, Value value)
    {
        var call = (MethodCall)value;
        PTXCodeGenerator.HardwareRegister address = generator.LoadHardware(call[0]), target = generator.AllocateHardware(call);
        using PTXCodeGenerator.CommandEmitter command = generator.BeginCommand("ld.shared.b32");
        command.AppendArgument(target);
        command.AppendArgumentValue(address);
    }

    private static void GenerateCopyAsync(PTXBackend backend, PTXCodeGenerator generator, Value value)
    {
        var call = (MethodCall)value;
        PTXCodeGenerator.HardwareRegister shared = generator.LoadHardware(call[0]), global = generator.LoadHardware(call[1]);
        PTXCodeGenerator.PrimitiveRegister bytes = generator.LoadPrimitive(call[2]);
        using PTXCodeGenerator.CommandEmitter command = generator.BeginCommand("cp.async.cg.shared.global");
        command.AppendArgumentValue(shared);
        command.AppendArgumentValue(global);
        command.AppendConstant(16L);
        command.AppendArgument(bytes);
    }

    private static void GenerateCommit(PTXBackend backend, PTXCodeGenerator generator, Value value)
    {
        using PTXCodeGenerator.CommandEmitter command = generator.BeginCommand("cp.async.commit_group");
    }

    private static void GenerateWait(PTXBackend backend, PTXCodeGenerator generator, Value value)
    {
        var call = (MethodCall)value;
        using PTXCodeGenerator.CommandEmitter command = generator.BeginCommand("cp.async.wait_group");
        command.AppendConstant((long)call[0].ResolveAs<PrimitiveValue>()!.Int32Value);
    }

    private static PTXCodeGenerator.PrimitiveRegister[] Fields(PTXCodeGenerator.Register register)
    {
        var compound = (PTXCodeGenerator.CompoundRegister)register;
        return compound.SliceAs<PTXCodeGenerator.PrimitiveRegister>(0, compound.NumChildren);
    }

    private static MethodInfo Method(string name) => typeof(GpuTensorCores).GetMethod(name, Members)!;
}
