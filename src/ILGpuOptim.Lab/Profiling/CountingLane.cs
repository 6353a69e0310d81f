using ILGpuOptim.Compute;

namespace ILGpuOptim.Lab;

/// <summary>
/// A lane that counts floating-point operations instead of computing: 1 for each, 2 for a fused multiplication and addition. Elementary functions count
/// what the f32 lanes compute for them.
/// </summary>
internal readonly struct CountingLane : ILane<CountingLane>
{
    [ThreadStatic]
    private static long count;

    /// <summary>The operations of this thread so far.</summary>
    public static long Count => count;

    public static CountingLane Splat(float value) => default;

    public static CountingLane operator +(CountingLane left, CountingLane right) => One(1);

    public static CountingLane operator -(CountingLane left, CountingLane right) => One(1);

    public static CountingLane operator *(CountingLane left, CountingLane right) => One(1);

    public static CountingLane operator /(CountingLane left, CountingLane right) => One(1);

    public static CountingLane operator -(CountingLane value) => One(1);

    public static CountingLane Fma(CountingLane a, CountingLane b, CountingLane c) => One(2);

    public static CountingLane Sqrt(CountingLane value) => One(1);

    public static CountingLane Abs(CountingLane value) => One(1);

    public static CountingLane Min(CountingLane left, CountingLane right) => One(1);

    public static CountingLane Max(CountingLane left, CountingLane right) => One(1);

    public static CountingLane Less(CountingLane left, CountingLane right) => One(1);

    public static CountingLane Equal(CountingLane left, CountingLane right) => One(1);

    public static CountingLane Select(CountingLane mask, CountingLane then, CountingLane otherwise) => One(1);

    public static CountingLane Round(CountingLane value) => One(1);

    public static CountingLane ScaleByPowerOfTwo(CountingLane value, CountingLane exponent) => One(2);

    public static CountingLane Fraction(CountingLane value, out CountingLane exponent)
    {
        exponent = default;
        return One(2);
    }

    public static CountingLane Exp(CountingLane value) => LaneMath.Exp(value);

    public static CountingLane Log(CountingLane value) => LaneMath.Log(value);

    public static CountingLane Tanh(CountingLane value) => LaneMath.Tanh(value);

    public static CountingLane Erf(CountingLane value) => LaneMath.Erf(value);

    private static CountingLane One(int operations)
    {
        count += operations;
        return default;
    }
}
