using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Lab;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Lab;

/// <summary>What <c>check</c> asks of any function holds for all of ours, and each check fails for one that is wrong in its way.</summary>
public class FunctionChecksTests
{
    public static TheoryData<string> Functions => [.. FunctionRegistry.Entries.Select(entry => entry.Name)];

    [Theory]
    [MemberData(nameof(Functions))]
    public void EveryFunctionPasses(string name) => AllPass(FunctionRegistry.Find(name)!);

    [Fact]
    public void FunctionsOfSeveralArgumentsPass()
    {
        AllPass(new FunctionEntry("gate", "x σ(y)", 2, (tape, x) => tape.Apply(new Gate(), x[0], x[1])) { Formula = x => x[0] / (1 + Math.Exp(-x[1])) });
        AllPass(new FunctionEntry("mix", "x + z (y - x)", 3, (tape, x) => tape.Apply(new Mix(), x[0], x[1], x[2])) { Formula = x => x[0] + x[2] * (x[1] - x[0]) });
    }

    [Fact]
    public void AResultThatDependsOnTheWidthFails() => Assert.Equal(
        ["double precision, in 256-bit vectors", "the same bits in 256-bit vectors", "compiles to PTX", "compiles to OpenCL C"], Failed(new Narrow()));

    [Fact]
    public void AJumpFails() => Assert.Equal(["its derivative adds up to its change from -6 to 6"], Failed(new Jump()));

    [Fact]
    public void StepsFail() => Assert.Contains("its derivative adds up to its change from -6 to 6", Failed(new Steps()));

    [Fact]
    public void ADerivativeThatIsLostAtAPointFails() => Assert.Equal(["within its one-sided differences at 0, ±½ … ±6"], Failed(new LostAtZero()));

    [Fact]
    public void HidingNotANumberFails() => Assert.Equal(["NaN and infinity as in double precision"], Failed(new HidesNaN()));

    [Fact]
    public void AnOverflowOfTheDerivativeFails() => Assert.Equal(["gradients are finite where values are, up to ±10,000"], Failed(new Overflows()));

    [Fact]
    public void ACodeThatNoGpuCanRunFails() => Assert.Equal(["compiles to PTX", "compiles to OpenCL C"], Failed(new Managed()));

    [Fact]
    public void AWrongDerivativeFails() => Assert.Contains("central differences, in double precision", Failed(Activation.WithDerivative(new WrongDerivative())));

    [Fact]
    public void AWrongFormulaFails() =>
        Assert.Equal(["its formula, in double precision"], FailedOf(new FunctionEntry("f", "", 1, (tape, x) => tape.Activate(x[0], Activation.Tanh)) { Formula = x => Math.Tanh(x[0]) + 1e-4 }));

    [Fact]
    public void AWrongSumOverBroadcastArgumentsFails() =>
        Assert.Contains("gradients of broadcast arguments are sums", FailedOf(new FunctionEntry("f", "", 2, (tape, x) => x[0].Length == x[1].Length
            ? tape.Apply(new Gate(), x[0], x[1])
            : tape.Apply(new HalfOfSecond(), tape.Apply(new Gate(), x[0], x[1]), x[1]))));

    [Fact]
    public void NamesAreCheckedWhenTheyAreAdded()
    {
        static FunctionEntry Entry(string name, int arguments = 1) => new(name, "", arguments, (tape, x) => x[0]);
        Assert.Throws<UserException>(() => FunctionRegistry.Add(Entry("gelu")));
        Assert.Throws<UserException>(() => FunctionRegistry.Add(Entry("two words")));
        Assert.Throws<UserException>(() => FunctionRegistry.Add(Entry("four", 4)));
        Assert.Null(FunctionRegistry.Find("four"));
    }

    [Fact]
    public void FunctionsAreAddedAndFoundByManyThreads()
    {
        Parallel.For(0, 400, i =>
        {
            FunctionRegistry.Add(new FunctionEntry($"of-thread-{i}", "", 1, (tape, x) => x[0]));
            Assert.NotNull(FunctionRegistry.Find($"of-thread-{i}"));
            Assert.NotNull(FunctionRegistry.Find("gelu"));
        });
        Assert.All(Enumerable.Range(0, 400), i => Assert.NotNull(FunctionRegistry.Find($"of-thread-{i}")));
        Assert.Throws<UserException>(() => FunctionRegistry.Add(new FunctionEntry("of-thread-7", "", 1, (tape, x) => x[0])));
    }

    private static void AllPass(FunctionEntry entry)
    {
        Check[] checks = [.. FunctionChecks.OnProcessor(entry)];
        Assert.True(checks.Length >= 7);
        Assert.All(checks, check => Assert.True(check.Passes, $"{check.Name}: {check.Error:E2} of {check.Bound:E0}, {check.Note}"));
    }

    private static string[] Failed<F>(F function) where F : unmanaged, IFunction1 => Failed(Activation.Of(function));

    private static string[] Failed(Activation activation) => FailedOf(new FunctionEntry("f", "", 1, (tape, x) => tape.Activate(x[0], activation)));

    private static string[] FailedOf(FunctionEntry entry) =>
        [.. FunctionChecks.OnProcessor(entry).Concat(((string[])["ptx", "opencl"]).Select(target => FunctionChecks.Compiles(target, entry))).Where(check => !check.Passes).Select(check => check.Name)];

    private readonly struct Gate : IFunction2
    {
        public L Apply<L>(L x, L y) where L : struct, ILane<L> => x / (L.Splat(1) + L.Exp(L.Min(L.Splat(80), -y)));
    }

    private readonly struct Mix : IFunction3
    {
        public L Apply<L>(L x, L y, L z) where L : struct, ILane<L> => L.Fma(z, y - x, x);
    }

    private readonly struct Narrow : IFunction1
    {
        public L Apply<L>(L x) where L : struct, ILane<L> => typeof(L) == typeof(F8) ? x * L.Splat(1.001f) : x;
    }

    private readonly struct Jump : IFunction1
    {
        public L Apply<L>(L x) where L : struct, ILane<L> => L.Select(L.Less(x, L.Splat(0.3f)), x, x + L.Splat(1));
    }

    private readonly struct Steps : IFunction1
    {
        public L Apply<L>(L x) where L : struct, ILane<L> => L.Round(x);
    }

    /// <summary>The logistic function by the absolute value, whose derivative at 0 is 0.</summary>
    private readonly struct LostAtZero : IFunction1
    {
        public L Apply<L>(L x) where L : struct, ILane<L>
        {
            L e = L.Exp(-L.Abs(x));
            return L.Select(L.Less(x, L.Splat(0)), e, L.Splat(1)) / (L.Splat(1) + e);
        }
    }

    private readonly struct HidesNaN : IFunction1
    {
        public L Apply<L>(L x) where L : struct, ILane<L> => L.Max(x, L.Splat(0));
    }

    private readonly struct Overflows : IFunction1
    {
        public L Apply<L>(L x) where L : struct, ILane<L> => x / (L.Splat(1) + L.Exp(-x));
    }

    private readonly struct Managed : IFunction1
    {
        public L Apply<L>(L x) where L : struct, ILane<L> => x * L.Splat(Unsafe.SizeOf<L>() > 0 ? 1 : 0);
    }

    private readonly struct WrongDerivative : IFunctionWithDerivative
    {
        public L Apply<L>(L x) where L : struct, ILane<L> => x * x;

        public void Differentiate<L>(L x, out L value, out L derivative) where L : struct, ILane<L> => (value, derivative) = (x * x, x);
    }

    /// <summary>x, with the derivative of y's half: a gradient that is there only where arguments were broadcast.</summary>
    private readonly struct HalfOfSecond : IFunction2
    {
        public L Apply<L>(L x, L y) where L : struct, ILane<L> => x + L.Splat(0.5f) * (y - y) + L.Splat(0.1f) * y;
    }
}
