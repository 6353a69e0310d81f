using System.Runtime.CompilerServices;
using ILGPU;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>Four floats that a GPU loads and stores as one 16-byte vector.</summary>
internal struct Float4(float a, float b, float c, float d)
{
    public float A = a, B = b, C = c, D = d;

    /// <summary>Joins two vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4Pair Join(Float4 x, Float4 y) => new(x.A, x.B, x.C, x.D, y.A, y.B, y.C, y.D);

    /// <summary>This plus x · y.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Float4 Plus(Float4 x, float y) =>
        new(MathF.FusedMultiplyAdd(x.A, y, A), MathF.FusedMultiplyAdd(x.B, y, B), MathF.FusedMultiplyAdd(x.C, y, C), MathF.FusedMultiplyAdd(x.D, y, D));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 operator *(Float4 x, float y) => new(x.A * y, x.B * y, x.C * y, x.D * y);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 operator *(Float4 x, Float4 y) => new(x.A * y.A, x.B * y.B, x.C * y.C, x.D * y.D);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 operator +(Float4 x, Float4 y) => new(x.A + y.A, x.B + y.B, x.C + y.C, x.D + y.D);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 operator -(Float4 x, float y) => new(x.A - y, x.B - y, x.C - y, x.D - y);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Exp(Float4 x) =>
        new(F1.Exp(new F1(x.A)).Value, F1.Exp(new F1(x.B)).Value, F1.Exp(new F1(x.C)).Value, F1.Exp(new F1(x.D)).Value);

    /// <summary>cap · tanh(x / cap).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Float4 Capped(float cap) => new(Float4Pair.Capped(A, cap), Float4Pair.Capped(B, cap), Float4Pair.Capped(C, cap), Float4Pair.Capped(D, cap));

    /// <summary>The derivatives of the cap, from capped scores: 1 - (x / cap)².</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Float4 CapDerivative(float cap)
    {
        Float4 tangent = this * (1 / cap);
        return new Float4(1, 1, 1, 1).Minus(tangent * tangent);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly Float4 Minus(Float4 x) => new(A - x.A, B - x.B, C - x.C, D - x.D);

    /// <summary>Replaces the elements before <paramref name="begin"/> by <paramref name="other"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Float4 From(int begin, float other) => new(begin <= 0 ? A : other, begin <= 1 ? B : other, begin <= 2 ? C : other, begin <= 3 ? D : other);

    /// <summary>Replaces the elements from <paramref name="end"/> on by <paramref name="other"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Float4 Before(int end, float other) => new(end > 0 ? A : other, end > 1 ? B : other, end > 2 ? C : other, end > 3 ? D : other);

    /// <summary>The maximum; may lose a NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float Largest()
    {
        float x = A > B ? A : B, y = C > D ? C : D;
        return x > y ? x : y;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float Sum() => A + B + (C + D);
}
