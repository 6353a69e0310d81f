using ILGpuOptim.Compute;

namespace ILGpuOptim.Tests.Lanes;

/// <summary>Every operation of dual lanes against central differences in double precision; vectors agree with single floats bit for bit.</summary>
public unsafe class DualTests
{
    /// <summary>An operation over any lane.</summary>
    public interface IOperation
    {
        L Apply<L>(L a, L b, L c) where L : struct, ILane<L>;
    }

    private static readonly float[] Points = [-3.25f, -1.4f, -0.6f, -0.1f, 0.2f, 0.7f, 1.3f, 2.75f];

    [Fact]
    public void Add() => Check<AddOperation>();

    [Fact]
    public void Subtract() => Check<SubtractOperation>();

    [Fact]
    public void Multiply() => Check<MultiplyOperation>();

    [Fact]
    public void Divide() => Check<DivideOperation>();

    [Fact]
    public void Negate() => Check<NegateOperation>();

    [Fact]
    public void FusedMultiplyAdd() => Check<FmaOperation>();

    [Fact]
    public void SquareRoot() => Check<SqrtOperation>();

    [Fact]
    public void AbsoluteValue() => Check<AbsOperation>();

    [Fact]
    public void Minimum() => Check<MinOperation>();

    [Fact]
    public void Maximum() => Check<MaxOperation>();

    [Fact]
    public void SelectByLess() => Check<LessOperation>();

    [Fact]
    public void SelectByEqual() => Check<EqualOperation>();

    [Fact]
    public void Round() => Check<RoundOperation>();

    [Fact]
    public void PowerOfTwo() => Check<ScaleOperation>();

    [Fact]
    public void Fraction() => Check<FractionOperation>();

    [Fact]
    public void Exponential() => Check<ExpOperation>();

    [Fact]
    public void Logarithm() => Check<LogOperation>();

    [Fact]
    public void HyperbolicTangent() => Check<TanhOperation>();

    [Fact]
    public void ErrorFunction() => Check<ErfOperation>();

    [Fact]
    public void KinksFollowTheirConventions()
    {
        Assert.Equal(0, Derivative(x => Dual<D1>.Abs(x), 0));
        Assert.Equal(0, Derivative(x => Dual<D1>.Max(x, Dual<D1>.Splat(0)), 0));
        Assert.Equal(1, Derivative(x => Dual<D1>.Max(Dual<D1>.Splat(0), x), 0));
        Assert.Equal(0, Derivative(x => Dual<D1>.Min(x, Dual<D1>.Splat(0)), 0));
        Assert.Equal(0, Derivative(Dual<D1>.Round, 0.3));
        Assert.Equal(0, Derivative(x => Dual<D1>.Less(x, Dual<D1>.Splat(1)), 0.3));
        Assert.Equal(double.PositiveInfinity, Derivative(Dual<D1>.Sqrt, 0));

        // The branch that is not chosen does not matter, even where it has no value.
        Assert.Equal(1, Derivative(x => Dual<D1>.Select(Dual<D1>.Less(x, Dual<D1>.Splat(0)), Dual<D1>.Log(x), x), 0.5));
    }

    private static double Derivative(Func<Dual<D1>, Dual<D1>> function, double x) => function(new(new D1(x), new D1(1))).Derivative.Value;

    private static void Check<O>() where O : struct, IOperation
    {
        AgreesWithDifferences<O>();
        VectorsAgreeWithSingle<O, F4>();
        VectorsAgreeWithSingle<O, F8>();
        VectorsAgreeWithSingle<O, F16>();
    }

    private static void AgreesWithDifferences<O>() where O : struct, IOperation
    {
        O operation = default;
        foreach (double a in Points)
        {
            foreach (double b in Points.Where(b => b != a))
            {
                const double Step = 1e-6;
                double c = 0.37 * a - b, value = Value(a, b, c);
                double[] expected = [(Value(a + Step, b, c) - Value(a - Step, b, c)) / (2 * Step), (Value(a, b + Step, c) - Value(a, b - Step, c)) / (2 * Step), (Value(a, b, c + Step) - Value(a, b, c - Step)) / (2 * Step)];
                Dual3<D1> all = operation.Apply(Three(a, 1, 0, 0), Three(b, 0, 1, 0), Three(c, 0, 0, 1));
                Dual2<D1> two = operation.Apply(Two(a, 1, 0), Two(b, 0, 1), Two(c, 0, 0)), last = operation.Apply(Two(a, 0, 0), Two(b, 0, 0), Two(c, 1, 2));
                Near(value, all.Value.Value, two.Value.Value, last.Value.Value);
                Near(expected[0], all.First.Value, two.First.Value, One(1, 0, 0));
                Near(expected[1], all.Second.Value, two.Second.Value, One(0, 1, 0));
                Near(expected[2], all.Third.Value, last.First.Value, last.Second.Value / 2, One(0, 0, 1));

                double One(double da, double db, double dc) => operation.Apply(new Dual<D1>(new(a), new(da)), new Dual<D1>(new(b), new(db)), new Dual<D1>(new(c), new(dc))).Derivative.Value;

                void Near(double right, params double[] actual) => Assert.All(actual, number =>
                    Assert.True((double.IsNaN(right) && double.IsNaN(number)) || Math.Abs(number - right) <= 1e-7 * Math.Max(1, Math.Abs(right)), $"{typeof(O).Name} at {a}, {b}, {c}: {number} instead of {right}"));
            }
        }

        double Value(double a, double b, double c) => operation.Apply(new D1(a), new D1(b), new D1(c)).Value;
        static Dual2<D1> Two(double value, double first, double second) => new(new(value), new(first), new(second));
        static Dual3<D1> Three(double value, double first, double second, double third) => new(new(value), new(first), new(second), new(third));
    }

    private static void VectorsAgreeWithSingle<O, L>() where O : struct, IOperation where L : struct, IVectorLane<L>
    {
        O operation = default;
        float[] special = [0, -0f, 1, -1, float.NaN, float.PositiveInfinity, float.NegativeInfinity, float.Epsilon, 88.8f, -104, 1e20f, 2.5f];
        var random = new Random(5);
        float[] values = [.. Enumerable.Range(0, 9 * 16 * 16).Select(i => i % 4 == 0 ? special[random.Next(special.Length)] : (float)(6 * random.NextDouble() - 3))];
        fixed (float* p = values)
        {
            for (int i = 0; i <= values.Length - 9 * L.Count; i += 9 * L.Count)
            {
                float* at = p + i;
                Dual2<L> vector = operation.Apply(At(0), At(1), At(2));
                Dual<L> simple = operation.Apply(Simple(0), Simple(1), Simple(2));
                for (int j = 0; j < L.Count; j++)
                {
                    Dual2<F1> single = operation.Apply(SingleAt(0, j), SingleAt(1, j), SingleAt(2, j));
                    Dual<F1> one = operation.Apply(SimpleAt(0, j), SimpleAt(1, j), SimpleAt(2, j));
                    Same(single.Value, vector.Value, j);
                    Same(single.First, vector.First, j);
                    Same(single.Second, vector.Second, j);
                    Same(one.Derivative, simple.Derivative, j);
                    Same(operation.Apply(SingleAt(0, j).Value, SingleAt(1, j).Value, SingleAt(2, j).Value), vector.Value, j);
                }

                L Part(int k) => L.Load(at + k * L.Count);
                F1 PartOf(int k, int j) => new(at[k * L.Count + j]);
                Dual2<L> At(int k) => new(Part(3 * k), Part(3 * k + 1), Part(3 * k + 2));
                Dual<L> Simple(int k) => new(Part(3 * k), Part(3 * k + 1));
                Dual2<F1> SingleAt(int k, int j) => new(PartOf(3 * k, j), PartOf(3 * k + 1, j), PartOf(3 * k + 2, j));
                Dual<F1> SimpleAt(int k, int j) => new(PartOf(3 * k, j), PartOf(3 * k + 1, j));
            }

            static void Same(F1 expected, L actual, int j)
            {
                float* r = stackalloc float[16];
                L.Store(actual, r);
                bool same = float.IsNaN(expected.Value) ? float.IsNaN(r[j]) : BitConverter.SingleToInt32Bits(expected.Value) == BitConverter.SingleToInt32Bits(r[j]);
                Assert.True(same, $"{typeof(O).Name} in {typeof(L).Name}: {r[j]:R} instead of {expected.Value:R}");
            }
        }
    }

    private readonly struct AddOperation : IOperation
    {
        public L Apply<L>(L a, L b, L c) where L : struct, ILane<L> => a + b;
    }

    private readonly struct SubtractOperation : IOperation
    {
        public L Apply<L>(L a, L b, L c) where L : struct, ILane<L> => a - b;
    }

    private readonly struct MultiplyOperation : IOperation
    {
        public L Apply<L>(L a, L b, L c) where L : struct, ILane<L> => a * b;
    }

    private readonly struct DivideOperation : IOperation
    {
        public L Apply<L>(L a, L b, L c) where L : struct, ILane<L> => a / b;
    }

    private readonly struct NegateOperation : IOperation
    {
        public L Apply<L>(L a, L b, L c) where L : struct, ILane<L> => -c;
    }

    private readonly struct FmaOperation : IOperation
    {
        public L Apply<L>(L a, L b, L c) where L : struct, ILane<L> => L.Fma(a, b, c);
    }

    private readonly struct SqrtOperation : IOperation
    {
        public L Apply<L>(L a, L b, L c) where L : struct, ILane<L> => L.Sqrt(a * a + b * b + L.Splat(0.1f)) + c;
    }

    private readonly struct AbsOperation : IOperation
    {
        public L Apply<L>(L a, L b, L c) where L : struct, ILane<L> => L.Abs(a * b) + L.Abs(c);
    }

    private readonly struct MinOperation : IOperation
    {
        public L Apply<L>(L a, L b, L c) where L : struct, ILane<L> => L.Min(a, b) * c;
    }

    private readonly struct MaxOperation : IOperation
    {
        public L Apply<L>(L a, L b, L c) where L : struct, ILane<L> => L.Max(a, b) * c;
    }

    private readonly struct LessOperation : IOperation
    {
        public L Apply<L>(L a, L b, L c) where L : struct, ILane<L> => L.Select(L.Less(a, b), a * c, b + c);
    }

    private readonly struct EqualOperation : IOperation
    {
        public L Apply<L>(L a, L b, L c) where L : struct, ILane<L> => L.Select(L.Equal(a, a), a * c, b);
    }

    private readonly struct RoundOperation : IOperation
    {
        public L Apply<L>(L a, L b, L c) where L : struct, ILane<L> => a - L.Round(a) + b * c;
    }

    private readonly struct ScaleOperation : IOperation
    {
        public L Apply<L>(L a, L b, L c) where L : struct, ILane<L> => L.ScaleByPowerOfTwo(a * c, L.Splat(-3)) + b;
    }

    /// <summary>The argument is positive and normal, as Fraction requires.</summary>
    private readonly struct FractionOperation : IOperation
    {
        public L Apply<L>(L a, L b, L c) where L : struct, ILane<L>
        {
            L positive = L.Select(L.Less(L.Abs(b), L.Splat(1e10f)), L.Abs(b), L.Splat(7)) + L.Splat(0.1f);
            return L.Fraction(positive, out L exponent) * a + exponent * c;
        }
    }

    private readonly struct ExpOperation : IOperation
    {
        public L Apply<L>(L a, L b, L c) where L : struct, ILane<L> => L.Exp(a) + L.Exp(c) * b;
    }

    private readonly struct LogOperation : IOperation
    {
        public L Apply<L>(L a, L b, L c) where L : struct, ILane<L> => L.Log(L.Abs(a)) + b * L.Log(L.Abs(c));
    }

    private readonly struct TanhOperation : IOperation
    {
        public L Apply<L>(L a, L b, L c) where L : struct, ILane<L> => L.Tanh(a) + b * L.Tanh(c);
    }

    private readonly struct ErfOperation : IOperation
    {
        public L Apply<L>(L a, L b, L c) where L : struct, ILane<L> => L.Erf(a) + b * L.Erf(c);
    }
}
