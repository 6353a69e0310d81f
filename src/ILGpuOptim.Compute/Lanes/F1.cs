using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

/// <summary>One float: what a GPU thread computes with, and the tails of CPU loops.</summary>
public readonly unsafe struct F1(float value) : IVectorLane<F1>
{
    /// <summary>The number.</summary>
    public float Value { get; } = value;

    /// <inheritdoc/>
    public static int Count => 1;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 Splat(float value) => new(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 Load(float* source) => new(*source);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(F1 value, float* target) => *target = value.Value;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(F1 value) => value.Value;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxElement(F1 value) => value.Value;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 operator +(F1 left, F1 right) => new(left.Value + right.Value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 operator -(F1 left, F1 right) => new(left.Value - right.Value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 operator *(F1 left, F1 right) => new(left.Value * right.Value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 operator /(F1 left, F1 right) => new(left.Value / right.Value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 operator -(F1 value) => new(-value.Value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 Fma(F1 a, F1 b, F1 c) => new(MathF.FusedMultiplyAdd(a.Value, b.Value, c.Value));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 Sqrt(F1 value) => new(MathF.Sqrt(value.Value));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 Abs(F1 value) => new(MathF.Abs(value.Value));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 Min(F1 left, F1 right) => new(IsLess(left.Value, right.Value) ? left.Value : right.Value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 Max(F1 left, F1 right) => new(IsLess(right.Value, left.Value) ? left.Value : right.Value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 Less(F1 left, F1 right) => new(IsLess(left.Value, right.Value) ? 1f : 0f);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 Equal(F1 left, F1 right) => new(left.Value == right.Value ? 1f : 0f);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 Select(F1 mask, F1 then, F1 otherwise) => new(mask.Value != 0f ? then.Value : otherwise.Value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 Round(F1 value) => new(MathF.Round(value.Value));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 ScaleByPowerOfTwo(F1 value, F1 exponent)
    {
        // In two steps, because 2ⁿ alone may lie outside the normal range; the first is exact.
        int whole = (int)exponent.Value, half = whole >> 1;
        return new(value.Value * BitConverter.Int32BitsToSingle((half + 127) << 23) * BitConverter.Int32BitsToSingle((whole - half + 127) << 23));
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 Fraction(F1 value, out F1 exponent)
    {
        int bits = BitConverter.SingleToInt32Bits(value.Value);
        int power = (bits - 0x3F3504F3) >> 23;
        exponent = new(power);
        return new(BitConverter.Int32BitsToSingle(bits - (power << 23)));
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 Exp(F1 value) => LaneMath.Exp(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 Log(F1 value) => LaneMath.Log(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 Tanh(F1 value) => LaneMath.Tanh(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 Erf(F1 value) => LaneMath.Erf(value);

    /// <summary>left &lt; right, false where either is NaN. A method, so that GPUs can be taught it: see <c>GpuMath</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static bool IsLess(float left, float right) => left < right;
}
