using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>
/// The operations of the inner loop on the hardware's vector type. The loop uses these instead of a lane: through
/// the lane's struct the JIT does not see that an accumulator is updated in place, and adds a move to most multiply-adds.
/// </summary>
internal unsafe interface IGemmVectors<V> where V : struct
{
    static abstract int Count { get; }

    static abstract V Load(float* source);

    static abstract void Store(V value, float* target);

    static abstract V Splat(float value);

    /// <summary>a · b + c.</summary>
    static abstract V Fma(V a, V b, V c);

    static abstract V Multiply(V a, V b);
}

/// <summary>16 floats.</summary>
internal unsafe struct GemmVectors512 : IGemmVectors<Vector512<float>>
{
    public static int Count => 16;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load(float* source) => Vector512.Load(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector512<float> value, float* target) => value.Store(target);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Splat(float value) => Vector512.Create(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Fma(Vector512<float> a, Vector512<float> b, Vector512<float> c) => Vector512.FusedMultiplyAdd(a, b, c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Multiply(Vector512<float> a, Vector512<float> b) => a * b;
}

/// <summary>8 floats.</summary>
internal unsafe struct GemmVectors256 : IGemmVectors<Vector256<float>>
{
    public static int Count => 8;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load(float* source) => Vector256.Load(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector256<float> value, float* target) => value.Store(target);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Splat(float value) => Vector256.Create(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Fma(Vector256<float> a, Vector256<float> b, Vector256<float> c) => Vector256.FusedMultiplyAdd(a, b, c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Multiply(Vector256<float> a, Vector256<float> b) => a * b;
}

/// <summary>4 floats.</summary>
internal unsafe struct GemmVectors128 : IGemmVectors<Vector128<float>>
{
    public static int Count => 4;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Load(float* source) => Vector128.Load(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector128<float> value, float* target) => value.Store(target);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Splat(float value) => Vector128.Create(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Fma(Vector128<float> a, Vector128<float> b, Vector128<float> c) => Vector128.FusedMultiplyAdd(a, b, c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Multiply(Vector128<float> a, Vector128<float> b) => a * b;
}

/// <summary>A number that the compiler knows: a dimension of a tile.</summary>
internal interface IGemmSize
{
    static abstract int Value { get; }
}

internal struct One : IGemmSize
{
    public static int Value => 1;
}

internal struct Two : IGemmSize
{
    public static int Value => 2;
}

internal struct Three : IGemmSize
{
    public static int Value => 3;
}

internal struct Four : IGemmSize
{
    public static int Value => 4;
}

internal struct Six : IGemmSize
{
    public static int Value => 6;
}

internal struct Eight : IGemmSize
{
    public static int Value => 8;
}
