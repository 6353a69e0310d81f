using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

/// <summary>One double: the lane of the reference device and of finite differences.</summary>
public readonly struct D1(double value) : ILane<D1>
{
    /// <summary>The number.</summary>
    public double Value { get; } = value;

    /// <inheritdoc/>
    public static D1 Splat(float value) => new(value);

    /// <inheritdoc/>
    public static D1 operator +(D1 left, D1 right) => new(left.Value + right.Value);

    /// <inheritdoc/>
    public static D1 operator -(D1 left, D1 right) => new(left.Value - right.Value);

    /// <inheritdoc/>
    public static D1 operator *(D1 left, D1 right) => new(left.Value * right.Value);

    /// <inheritdoc/>
    public static D1 operator /(D1 left, D1 right) => new(left.Value / right.Value);

    /// <inheritdoc/>
    public static D1 operator -(D1 value) => new(-value.Value);

    /// <inheritdoc/>
    public static D1 Fma(D1 a, D1 b, D1 c) => new(Math.FusedMultiplyAdd(a.Value, b.Value, c.Value));

    /// <inheritdoc/>
    public static D1 Sqrt(D1 value) => new(Math.Sqrt(value.Value));

    /// <inheritdoc/>
    public static D1 Abs(D1 value) => new(Math.Abs(value.Value));

    /// <inheritdoc/>
    public static D1 Min(D1 left, D1 right) => left.Value < right.Value ? left : right;

    /// <inheritdoc/>
    public static D1 Max(D1 left, D1 right) => left.Value > right.Value ? left : right;

    /// <inheritdoc/>
    public static D1 Less(D1 left, D1 right) => new(left.Value < right.Value ? 1 : 0);

    /// <inheritdoc/>
    public static D1 Equal(D1 left, D1 right) => new(left.Value == right.Value ? 1 : 0);

    /// <inheritdoc/>
    public static D1 Select(D1 mask, D1 then, D1 otherwise) => mask.Value != 0 ? then : otherwise;

    /// <inheritdoc/>
    public static D1 Round(D1 value) => new(Math.Round(value.Value));

    /// <inheritdoc/>
    public static D1 ScaleByPowerOfTwo(D1 value, D1 exponent) => new(Math.ScaleB(value.Value, (int)exponent.Value));

    /// <inheritdoc/>
    public static D1 Fraction(D1 value, out D1 exponent)
    {
        int power = Math.ILogB(value.Value);
        double fraction = Math.ScaleB(value.Value, -power);
        if (fraction >= Math.Sqrt(2))
        {
            fraction /= 2;
            power++;
        }

        exponent = new(power);
        return new(fraction);
    }

    /// <inheritdoc/>
    public static D1 Exp(D1 value) => new(Math.Exp(value.Value));

    /// <inheritdoc/>
    public static D1 Log(D1 value) => new(Math.Log(value.Value));

    /// <inheritdoc/>
    public static D1 Tanh(D1 value) => new(Math.Tanh(value.Value));

    /// <summary>
    /// The error function: its Taylor series in the form e^-x² Σ 2ⁿ x^(2n+1) / (2n+1)!! below 3, all terms positive;
    /// above, one minus the continued fraction of erfc. Relative error about 1e-15.
    /// </summary>
    public static D1 Erf(D1 value)
    {
        double x = Math.Abs(value.Value);
        if (double.IsNaN(x))
            return value;
        double result;
        if (x < 3)
        {
            double term = x, sum = x;
            for (int n = 1; term > sum * 1e-17; n++)
            {
                term *= 2 * x * x / (2 * n + 1);
                sum += term;
            }

            result = 2 / Math.Sqrt(Math.PI) * Math.Exp(-x * x) * sum;
        }
        else
        {
            double fraction = x;
            for (int n = 60; n > 0; n--)
                fraction = x + n / 2.0 / fraction;
            result = x > 6 ? 1 : 1 - Math.Exp(-x * x) / (Math.Sqrt(Math.PI) * fraction);
        }

        return new(Math.CopySign(result, value.Value));
    }
}
