namespace ILGpuOptim.Compute;

/// <summary>
/// A lane: one or more values that every operation treats alike. Mathematics is written once over lanes and then
/// runs as one float on a GPU (<see cref="F1"/>), as a 128-, 256- or 512-bit vector on a CPU (<see cref="F4"/>,
/// <see cref="F8"/>, <see cref="F16"/>), and as one double in the reference device (<see cref="D1"/>).
/// </summary>
/// <typeparam name="L">The lane itself.</typeparam>
public interface ILane<L> where L : struct, ILane<L>
{
    /// <summary>The same value in every element.</summary>
    static abstract L Splat(float value);

    /// <summary>Element-wise sum.</summary>
    static abstract L operator +(L left, L right);

    /// <summary>Element-wise difference.</summary>
    static abstract L operator -(L left, L right);

    /// <summary>Element-wise product.</summary>
    static abstract L operator *(L left, L right);

    /// <summary>Element-wise quotient.</summary>
    static abstract L operator /(L left, L right);

    /// <summary>Element-wise negation.</summary>
    static abstract L operator -(L value);

    /// <summary><c>a * b + c</c> with one rounding.</summary>
    static abstract L Fma(L a, L b, L c);

    /// <summary>Square root, correctly rounded.</summary>
    static abstract L Sqrt(L value);

    /// <summary>Absolute value.</summary>
    static abstract L Abs(L value);

    /// <summary><c>left &lt; right ? left : right</c>: the second operand where either is NaN.</summary>
    static abstract L Min(L left, L right);

    /// <summary><c>left &gt; right ? left : right</c>: the second operand where either is NaN.</summary>
    static abstract L Max(L left, L right);

    /// <summary>A mask for <see cref="Select"/>: <c>left &lt; right</c>.</summary>
    static abstract L Less(L left, L right);

    /// <summary>A mask for <see cref="Select"/>: <c>left == right</c>.</summary>
    static abstract L Equal(L left, L right);

    /// <summary><paramref name="then"/> where the mask holds, else <paramref name="otherwise"/>.</summary>
    static abstract L Select(L mask, L then, L otherwise);

    /// <summary>The nearest integer, ties to even.</summary>
    static abstract L Round(L value);

    /// <summary><paramref name="value"/> · 2ⁿ for an integral <paramref name="exponent"/> n from -250 to 250, rounded once.</summary>
    static abstract L ScaleByPowerOfTwo(L value, L exponent);

    /// <summary>
    /// Splits a positive normal number into a fraction in [√½, √2) and the integral power of two that belongs to it.
    /// </summary>
    static abstract L Fraction(L value, out L exponent);

    /// <summary>e to the power of <paramref name="value"/>; within 0.99 ulp in f32.</summary>
    static abstract L Exp(L value);

    /// <summary>The natural logarithm; within 0.83 ulp in f32.</summary>
    static abstract L Log(L value);

    /// <summary>The hyperbolic tangent; within 5.2 ulp in f32, all of it near saturation.</summary>
    static abstract L Tanh(L value);

    /// <summary>The error function (within 2 ulp in f32), <c>2/√π ∫₀ˣ exp(-t²) dt</c>.</summary>
    static abstract L Erf(L value);
}

/// <summary>A lane that the CPU loads from and stores to f32 memory, and folds to one number.</summary>
/// <typeparam name="L">The lane itself.</typeparam>
public unsafe interface IVectorLane<L> : ILane<L> where L : struct, IVectorLane<L>
{
    /// <summary>The number of floats of a lane.</summary>
    static abstract int Count { get; }

    /// <summary>Reads <see cref="Count"/> floats; no alignment is assumed.</summary>
    static abstract L Load(float* source);

    /// <summary>Writes <see cref="Count"/> floats; no alignment is assumed.</summary>
    static abstract void Store(L value, float* target);

    /// <summary>The sum of the elements, added pairwise in a fixed order.</summary>
    static abstract float Sum(L value);

    /// <summary>The largest element.</summary>
    static abstract float MaxElement(L value);
}
