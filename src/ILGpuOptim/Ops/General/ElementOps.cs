using ILGpuOptim.Compute;
using ILGpuOptim.Ops.Functions;

namespace ILGpuOptim.Ops;

/// <summary>Element-wise functions of one or two tensors. Two tensors are broadcast to each other as in NumPy.</summary>
public static class ElementOps
{
    /// <summary>x · y.</summary>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast.</exception>
    public static Tensor Multiply(this Tape tape, Tensor x, Tensor y) => tape.Apply("Multiply", new Product(), x, y);

    /// <summary>x / y.</summary>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast.</exception>
    public static Tensor Divide(this Tape tape, Tensor x, Tensor y) => tape.Apply("Divide", new Quotient(), x, y);

    /// <summary>numerator / x.</summary>
    public static Tensor Divide(this Tape tape, float numerator, Tensor x) => tape.Apply(new Reciprocal(numerator), x);

    /// <summary>The greater of x and y; NaN where either is. At ties, y gets the gradient.</summary>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast.</exception>
    public static Tensor Maximum(this Tape tape, Tensor x, Tensor y) => tape.Apply("Maximum", new Maximum(), x, y);

    /// <summary>The lesser of x and y; NaN where either is. At ties, y gets the gradient.</summary>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast.</exception>
    public static Tensor Minimum(this Tape tape, Tensor x, Tensor y) => tape.Apply("Minimum", new Minimum(), x, y);

    /// <summary>xʸ. A negative x has powers for integers y only, else NaN. At x = 0 the derivative counts as 0, except for y = 1.</summary>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast.</exception>
    public static Tensor Pow(this Tape tape, Tensor x, Tensor y) => tape.Apply("Pow", new Power(), x, y);

    /// <summary>x to a constant power. Powers of -1, -½, 0, ½, 1, 2 and 3 use no logarithm.</summary>
    /// <inheritdoc cref="Pow(Tape, Tensor, Tensor)"/>
    public static Tensor Pow(this Tape tape, Tensor x, float exponent) => exponent switch
    {
        -1 => tape.Divide(1, x),
        -0.5f => tape.Rsqrt(x),
        0 => tape.Ones(x.Sizes()),
        0.5f => tape.Sqrt(x),
        1 => x,
        2 => tape.Square(x),
        3 => tape.Multiply(tape.Square(x), x),
        _ => tape.Apply(new PowerOf(exponent), x),
    };

    /// <summary>x².</summary>
    public static Tensor Square(this Tape tape, Tensor x) => tape.Apply(new Squared(), x);

    /// <summary>√x.</summary>
    public static Tensor Sqrt(this Tape tape, Tensor x) => tape.Apply(new SquareRoot(), x);

    /// <summary>1/√x.</summary>
    public static Tensor Rsqrt(this Tape tape, Tensor x) => tape.Apply(new ReciprocalRoot(), x);

    /// <summary>eˣ.</summary>
    public static Tensor Exp(this Tape tape, Tensor x) => tape.Apply(new Exponential(), x);

    /// <summary>ln x.</summary>
    public static Tensor Log(this Tape tape, Tensor x) => tape.Apply(new Logarithm(), x);

    /// <summary>|x|, whose derivative at 0 is 0.</summary>
    public static Tensor Abs(this Tape tape, Tensor x) => tape.Apply(new Absolute(), x);

    /// <summary>The hyperbolic tangent.</summary>
    public static Tensor Tanh(this Tape tape, Tensor x) => tape.Apply(new Tanh(), x);

    /// <summary>1 / (1 + e⁻ˣ).</summary>
    public static Tensor Sigmoid(this Tape tape, Tensor x) => tape.Apply(new Sigmoid(), x);

    /// <summary>max(x, 0), whose derivative at 0 is 0.</summary>
    public static Tensor Relu(this Tape tape, Tensor x) => tape.Apply(new Relu(), x);

    /// <summary>x clamped to limits.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="min">The lower limit.</param>
    /// <param name="max">The upper limit.</param>
    /// <exception cref="ArgumentException">The lower limit is above the upper.</exception>
    public static Tensor Clamp(this Tape tape, Tensor x, float min = float.NegativeInfinity, float max = float.PositiveInfinity)
    {
        if (!(min <= max))
            throw new ArgumentException($"Clamp: the lower limit {min} is above the upper limit {max}", nameof(min));
        return tape.Apply(new Limited(min, max), x);
    }

    /// <summary>x where the condition is not 0, else y; all three are broadcast to each other.</summary>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast.</exception>
    public static Tensor Where(this Tape tape, Tensor condition, Tensor x, Tensor y) => tape.Apply("Where", new Choice(), condition, x, y);

    /// <summary>The value where the mask is not 0, else x.</summary>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast.</exception>
    public static Tensor MaskedFill(this Tape tape, Tensor x, Tensor mask, float value) => tape.Apply("MaskedFill", new Masked(value), x, mask);
}
