using ILGpuOptim.Compute;

namespace ILGpuOptim.Tests.Lanes;

/// <summary>Vectors agree with single floats bit for bit; elementary functions keep their bounds over the whole range.</summary>
public unsafe class LaneTests
{
    private static readonly float[] Special =
    [
        0, -0f, 1, -1, 0.5f, float.NaN, float.PositiveInfinity, float.NegativeInfinity, float.Epsilon, -float.Epsilon, float.MaxValue, float.MinValue,
        1.1754944e-38f, 88.7f, -103.9f, 9.01f, 0.6f, 1e-20f, 16777217, 2.5f, 3.5f, -2.5f,
    ];

    [Fact]
    public void VectorsOfFour() => AgreesWithSingle<F4>();

    [Fact]
    public void VectorsOfEight() => AgreesWithSingle<F8>();

    [Fact]
    public void VectorsOfSixteen() => AgreesWithSingle<F16>();

    /// <summary>Largest errors in units of the last place, over every 4,099th float; all floats are in docs/lanes.md.</summary>
    [Theory]
    [InlineData("exp", 1.0)]
    [InlineData("log", 1.0)]
    [InlineData("tanh", 5.2)]
    [InlineData("erf", 2.0)]
    public void ElementaryFunctionsKeepTheirBounds(string name, double bound)
    {
        (Func<F1, F1> function, Func<double, double> exact) = name switch
        {
            "exp" => ((Func<F1, F1>)F1.Exp, (Func<double, double>)Math.Exp),
            "log" => (F1.Log, Math.Log),
            "tanh" => (F1.Tanh, Math.Tanh),
            _ => (F1.Erf, x => D1.Erf(new D1(x)).Value),
        };
        for (ulong bits = 0; bits <= uint.MaxValue; bits += 4099)
        {
            float x = BitConverter.UInt32BitsToSingle((uint)bits), actual = function(new F1(x)).Value;
            double expected = exact(x);
            float rounded = (float)expected;
            if (float.IsNaN(rounded) || float.IsInfinity(rounded) || float.IsInfinity(actual))
            {
                // At the edge of the range the last finite number and infinity are neighbours.
                Assert.True(actual.Equals(rounded) || Math.Abs(expected) > 3.4028e38, $"{name}({x:R}) = {actual:R}");
                continue;
            }

            double unit = Math.Max(Math.ScaleB(1, Math.Max(Math.ILogB(rounded), -126) - 23), float.Epsilon);
            Assert.True(Math.Abs(actual - expected) <= bound * unit, $"{name}({x:R}) = {actual:R}, {Math.Abs(actual - expected) / unit:F2} ulp off");
        }
    }

    [Fact]
    public void ErrorFunctionHasKnownValues()
    {
        Assert.Equal(0.8427007929497149, D1.Erf(new D1(1)).Value, 1e-15);
        Assert.Equal(0.9953222650189527, D1.Erf(new D1(2)).Value, 1e-15);
        Assert.Equal(0.9999779095030014, D1.Erf(new D1(3)).Value, 1e-15);
        Assert.Equal(-0.1124629160182849, D1.Erf(new D1(-0.1)).Value, 1e-15);
    }

    private static void AgreesWithSingle<L>() where L : struct, IVectorLane<L>
    {
        float[] a = Values(1), b = Values(2), c = Values(3);
        Unary("negate", a, x => -x, x => -x);
        Unary("sqrt", a, L.Sqrt, F1.Sqrt);
        Unary("abs", a, L.Abs, F1.Abs);
        Unary("round", a, L.Round, F1.Round);
        Unary("exp", a, L.Exp, F1.Exp);
        Unary("log", a, L.Log, F1.Log);
        Unary("tanh", a, L.Tanh, F1.Tanh);
        Unary("erf", a, L.Erf, F1.Erf);
        Ternary("add", a, b, c, (x, y, _) => x + y, (x, y, _) => x + y);
        Ternary("subtract", a, b, c, (x, y, _) => x - y, (x, y, _) => x - y);
        Ternary("multiply", a, b, c, (x, y, _) => x * y, (x, y, _) => x * y);
        Ternary("divide", a, b, c, (x, y, _) => x / y, (x, y, _) => x / y);
        Ternary("fma", a, b, c, L.Fma, F1.Fma);
        Ternary("min", a, b, c, (x, y, _) => L.Min(x, y), (x, y, _) => F1.Min(x, y));
        Ternary("max", a, b, c, (x, y, _) => L.Max(x, y), (x, y, _) => F1.Max(x, y));
        Ternary("less", a, b, c, (x, y, z) => L.Select(L.Less(x, y), z, x), (x, y, z) => F1.Select(F1.Less(x, y), z, x));
        Ternary("equal", a, b, c, (x, y, z) => L.Select(L.Equal(x, y), z, x), (x, y, z) => F1.Select(F1.Equal(x, y), z, x));
        float[] plain = [.. Enumerable.Range(1, L.Count).Select(i => (float)i)];
        fixed (float* p = plain)
        {
            Assert.Equal(L.Count * (L.Count + 1) / 2, L.Sum(L.Load(p)));
            Assert.Equal(L.Count, L.MaxElement(L.Load(p)));
        }

        static void Unary(string name, float[] x, Func<L, L> vector, Func<F1, F1> single) =>
            Ternary(name, x, x, x, (v, _, _) => vector(v), (s, _, _) => single(s));

        static void Ternary(string name, float[] x, float[] y, float[] z, Func<L, L, L, L> vector, Func<F1, F1, F1, F1> single)
        {
            var result = new float[L.Count];
            fixed (float* px = x, py = y, pz = z, pr = result)
            {
                for (int i = 0; i <= x.Length - L.Count; i += L.Count)
                {
                    L.Store(vector(L.Load(px + i), L.Load(py + i), L.Load(pz + i)), pr);
                    for (int j = 0; j < L.Count; j++)
                    {
                        float expected = single(new F1(x[i + j]), new F1(y[i + j]), new F1(z[i + j])).Value;
                        bool same = float.IsNaN(expected) ? float.IsNaN(result[j]) : BitConverter.SingleToInt32Bits(expected) == BitConverter.SingleToInt32Bits(result[j]);
                        Assert.True(same, $"{name} of {x[i + j]:R}, {y[i + j]:R}, {z[i + j]:R}: {result[j]:R} instead of {expected:R}");
                    }
                }
            }
        }
    }

    /// <summary>Random bit patterns, moderate numbers, and the special ones in every combination of places.</summary>
    private static float[] Values(int stream)
    {
        var random = new Random(stream);
        var values = new float[16 * 1024];
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = (i % 3) switch
            {
                0 => BitConverter.Int32BitsToSingle(random.Next(int.MinValue, int.MaxValue)),
                1 => (float)(random.NextDouble() * 20 - 10),
                _ => Special[random.Next(Special.Length)],
            };
        }

        return values;
    }
}
