using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace ILGpuOptim.Compute;

/// <summary>4 floats in a 128-bit vector.</summary>
[method: MethodImpl(MethodImplOptions.AggressiveInlining)]
public readonly unsafe struct F4(Vector128<float> value) : IVectorLane<F4>
{
    private readonly Vector128<float> value = value; // operations read the field: a property is one more call to inline

    /// <summary>The vector.</summary>
    public Vector128<float> Value => value;

    /// <inheritdoc/>
    public static int Count => 4;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 Splat(float value) => new(Vector128.Create(value));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 Load(float* source) => new(Vector128.Load(source));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(F4 value, float* target) => value.value.Store(target);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(F4 value)
    {
        Vector128<float> pairs = value.value + Vector128.Shuffle(value.value, Vector128.Create(2, 3, 0, 1));
        return pairs[0] + pairs[1];
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxElement(F4 value)
    {
        F4 pairs = Max(value, new(Vector128.Shuffle(value.value, Vector128.Create(2, 3, 0, 1))));
        return pairs.Value[0] > pairs.Value[1] ? pairs.Value[0] : pairs.Value[1];
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 operator +(F4 left, F4 right) => new(left.value + right.value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 operator -(F4 left, F4 right) => new(left.value - right.value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 operator *(F4 left, F4 right) => new(left.value * right.value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 operator /(F4 left, F4 right) => new(left.value / right.value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 operator -(F4 value) => new(-value.value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 Fma(F4 a, F4 b, F4 c) => new(Vector128.FusedMultiplyAdd(a.value, b.value, c.value));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 Sqrt(F4 value) => new(Vector128.Sqrt(value.value));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 Abs(F4 value) => new(Vector128.Abs(value.value));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 Min(F4 left, F4 right) => new(Sse.IsSupported
        ? Sse.Min(left.value, right.value)
        : Vector128.ConditionalSelect(Vector128.LessThan(left.value, right.value), left.value, right.value));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 Max(F4 left, F4 right) => new(Sse.IsSupported
        ? Sse.Max(left.value, right.value)
        : Vector128.ConditionalSelect(Vector128.GreaterThan(left.value, right.value), left.value, right.value));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 Less(F4 left, F4 right) => new(Vector128.LessThan(left.value, right.value));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 Equal(F4 left, F4 right) => new(Vector128.Equals(left.value, right.value));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 Select(F4 mask, F4 then, F4 otherwise) =>
        new(Vector128.ConditionalSelect(mask.value, then.value, otherwise.value));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 Round(F4 value) => new(Vector128.Round(value.value));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 ScaleByPowerOfTwo(F4 value, F4 exponent)
    {
        Vector128<int> whole = Vector128.ConvertToInt32Native(exponent.value), half = whole >> 1, bias = Vector128.Create(127);
        return new(value.value * ((half + bias) << 23).AsSingle() * ((whole - half + bias) << 23).AsSingle());
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 Fraction(F4 value, out F4 exponent)
    {
        Vector128<int> bits = value.value.AsInt32();
        Vector128<int> power = (bits - Vector128.Create(0x3F3504F3)) >> 23;
        exponent = new(Vector128.ConvertToSingle(power));
        return new((bits - (power << 23)).AsSingle());
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 Exp(F4 value) => LaneMath.Exp(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 Log(F4 value) => LaneMath.Log(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 Tanh(F4 value) => LaneMath.Tanh(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F4 Erf(F4 value) => LaneMath.Erf(value);
}
