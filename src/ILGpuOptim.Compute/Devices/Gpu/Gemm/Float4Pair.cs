using System.Runtime.CompilerServices;
using ILGPU;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Eight floats in registers, a row of an 8 × 8 tile. Elements are fields, because ILGPU keeps fields in
/// registers and arrays in memory; on CPUs LLVM joins the eight operations of each method to vector instructions.
/// </summary>
internal struct Float4Pair(float a, float b, float c, float d, float e, float f, float g, float h)
{
    public float A = a, B = b, C = c, D = d, E = e, F = f, G = g, H = h;

    /// <summary>Eight copies of a value.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4Pair Splat(float value) => new(value, value, value, value, value, value, value, value);

    /// <summary>Loads elements <paramref name="step"/> apart. Constant offsets let LLVM recognize adjacent elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4Pair Load(ArrayView<float> source, long start, int step)
    {
        ArrayView<float> line = source.SubView(start, 7 * step + 1);
        return new(line[0], line[step], line[2 * step], line[3 * step], line[4 * step], line[5 * step], line[6 * step], line[7 * step]);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Store(ArrayView<float> target, long start, int step)
    {
        ArrayView<float> line = target.SubView(start, 7 * step + 1);
        line[0] = A;
        line[step] = B;
        line[2 * step] = C;
        line[3 * step] = D;
        line[4 * step] = E;
        line[5 * step] = F;
        line[6 * step] = G;
        line[7 * step] = H;
    }

    /// <summary>This plus x · y.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Float4Pair Plus(Float4Pair x, float y) => new(
        MathF.FusedMultiplyAdd(x.A, y, A), MathF.FusedMultiplyAdd(x.B, y, B), MathF.FusedMultiplyAdd(x.C, y, C), MathF.FusedMultiplyAdd(x.D, y, D),
        MathF.FusedMultiplyAdd(x.E, y, E), MathF.FusedMultiplyAdd(x.F, y, F), MathF.FusedMultiplyAdd(x.G, y, G), MathF.FusedMultiplyAdd(x.H, y, H));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4Pair operator +(Float4Pair x, Float4Pair y) => new(x.A + y.A, x.B + y.B, x.C + y.C, x.D + y.D, x.E + y.E, x.F + y.F, x.G + y.G, x.H + y.H);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4Pair operator -(Float4Pair x, Float4Pair y) => new(x.A - y.A, x.B - y.B, x.C - y.C, x.D - y.D, x.E - y.E, x.F - y.F, x.G - y.G, x.H - y.H);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4Pair operator *(Float4Pair x, Float4Pair y) => new(x.A * y.A, x.B * y.B, x.C * y.C, x.D * y.D, x.E * y.E, x.F * y.F, x.G * y.G, x.H * y.H);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4Pair operator *(Float4Pair x, float y) => new(x.A * y, x.B * y, x.C * y, x.D * y, x.E * y, x.F * y, x.G * y, x.H * y);

    /// <summary>The element-wise maximum; a NaN of <paramref name="y"/> is kept.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4Pair Max(Float4Pair x, Float4Pair y) => new(
        x.A > y.A ? x.A : y.A, x.B > y.B ? x.B : y.B, x.C > y.C ? x.C : y.C, x.D > y.D ? x.D : y.D,
        x.E > y.E ? x.E : y.E, x.F > y.F ? x.F : y.F, x.G > y.G ? x.G : y.G, x.H > y.H ? x.H : y.H);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4Pair Exp(Float4Pair x) => new(Exp(x.A), Exp(x.B), Exp(x.C), Exp(x.D), Exp(x.E), Exp(x.F), Exp(x.G), Exp(x.H));

    /// <summary>cap · tanh(x / cap).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Float4Pair Capped(float cap) => new(
        Capped(A, cap), Capped(B, cap), Capped(C, cap), Capped(D, cap), Capped(E, cap), Capped(F, cap), Capped(G, cap), Capped(H, cap));

    /// <summary>Replaces elements by <paramref name="other"/> where <paramref name="place"/> is outside [<paramref name="begin"/>, <paramref name="end"/>).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Float4Pair Between(float place, Float4Pair begin, Float4Pair end, float other) => new(
        Between(A, place, begin.A, end.A, other), Between(B, place, begin.B, end.B, other), Between(C, place, begin.C, end.C, other), Between(D, place, begin.D, end.D, other),
        Between(E, place, begin.E, end.E, other), Between(F, place, begin.F, end.F, other), Between(G, place, begin.G, end.G, other), Between(H, place, begin.H, end.H, other));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float Sum() => (A + B) + (C + D) + ((E + F) + (G + H));

    /// <summary>Replaces elements by <paramref name="other"/> whose positions are outside [<paramref name="begin"/>, <paramref name="end"/>).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Float4Pair Within(int begin, int end, int first, int step, float other) => new(
        Within(A, begin, end, first, other), Within(B, begin, end, first + step, other),
        Within(C, begin, end, first + 2 * step, other), Within(D, begin, end, first + 3 * step, other),
        Within(E, begin, end, first + 4 * step, other), Within(F, begin, end, first + 5 * step, other),
        Within(G, begin, end, first + 6 * step, other), Within(H, begin, end, first + 7 * step, other));

    /// <summary>Replaces -∞ by 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Float4Pair Finite() => new(Finite(A), Finite(B), Finite(C), Finite(D), Finite(E), Finite(F), Finite(G), Finite(H));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Within(float value, int begin, int end, int place, float other) => place >= begin && place < end ? value : other;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float Finite(float value) => value == float.NegativeInfinity ? 0 : value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Between(float value, float place, float begin, float end, float other) => place >= begin && place < end ? value : other;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float Capped(float x, float cap) => cap * F1.Tanh(new F1(x / cap)).Value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Exp(float x) => F1.Exp(new F1(x)).Value;
}

/// <summary>An 8 × 8 tile in registers.</summary>
internal struct GpuTile
{
    public Float4Pair A, B, C, D, E, F, G, H;

    /// <summary>Adds the outer product of <paramref name="y"/> (rows) and <paramref name="x"/> (columns).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add(Float4Pair x, Float4Pair y)
    {
        A = A.Plus(x, y.A);
        B = B.Plus(x, y.B);
        C = C.Plus(x, y.C);
        D = D.Plus(x, y.D);
        E = E.Plus(x, y.E);
        F = F.Plus(x, y.F);
        G = G.Plus(x, y.G);
        H = H.Plus(x, y.H);
    }
}
