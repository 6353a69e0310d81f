using ILGpuOptim.Compute;
using ILGpuOptim.Ops;
using ILGpuOptim.Ops.Functions;

namespace ILGpuOptim.Tests.Autograd;

/// <summary>Values and derivatives of functions at huge and infinite arguments are their limits, in vectors of every width.</summary>
public class FunctionLimitTests
{
    private static readonly float[] Points = [1e4f, 1e20f, 3e38f, float.PositiveInfinity];

    /// <summary>For each function: it and its derivative for large negative and for large positive x.</summary>
    private static readonly Dictionary<string, (Func<Tape, Tensor, Tensor> Apply, Limit? Left, Limit? Right)> Functions = new()
    {
        ["gelu_new"] = (Named("gelu_new"), Zero, Identity),
        ["gelu"] = (Named("gelu"), Zero, Identity),
        ["quick_gelu"] = (Named("quick_gelu"), Zero, Identity),
        ["silu"] = (Named("silu"), Zero, Identity),
        ["mish"] = (Named("mish"), Zero, Identity),
        ["relu"] = (Named("relu"), Zero, Identity),
        ["relu2"] = (Named("relu2"), Zero, Square),
        ["relu6"] = (Named("relu6"), Zero, new(x => 6, x => 0)),
        ["leaky_relu"] = (Named("leaky_relu"), new(x => 0.01f * x, x => 0.01f), Identity),
        ["elu"] = (Named("elu"), new(x => -1, x => 0), Identity),
        ["softplus"] = (Named("softplus"), Zero, Identity),
        ["sigmoid"] = (Named("sigmoid"), Zero, One),
        ["tanh"] = (Named("tanh"), new(x => -1, x => 0), One),
        ["linear"] = (Named("linear"), Identity, Identity),
        ["laplace"] = (Named("laplace"), Zero, One),
        ["soft cap of 30"] = ((tape, x) => tape.Apply(new SoftCap(30), x), new(x => -30, x => 0), new(x => 30, x => 0)),
        ["ELU with α = 1.5"] = ((tape, x) => tape.Apply(new Elu(1.5f), x), new(x => -1.5, x => 0), Identity),
        ["Exp"] = ((tape, x) => tape.Exp(x), Zero, new(x => float.PositiveInfinity, x => float.PositiveInfinity)),
        ["Log"] = ((tape, x) => tape.Log(x), None, new(Math.Log, x => 1 / x)),
        ["Sqrt"] = ((tape, x) => tape.Sqrt(x), None, new(Math.Sqrt, x => 0.5 / Math.Sqrt(x))),
        ["Rsqrt"] = ((tape, x) => tape.Rsqrt(x), None, new(x => 1 / Math.Sqrt(x), x => -0.5 / x / Math.Sqrt(x))),
        ["Square"] = ((tape, x) => tape.Square(x), Square, Square),
        ["Abs"] = ((tape, x) => tape.Abs(x), new(x => -x, x => -1), Identity),
        ["Clamp"] = ((tape, x) => tape.Clamp(x, -2, 3), new(x => -2, x => 0), new(x => 3, x => 0)),
        ["1 / x"] = ((tape, x) => tape.Divide(1, x), new(x => 1 / x, x => -1 / x / x), new(x => 1 / x, x => -1 / x / x)),
        ["x / 3"] = ((tape, x) => tape.Divide(x, 3), new(x => x / 3, x => 1 / 3.0), new(x => x / 3, x => 1 / 3.0)),
        ["3 x + 1"] = ((tape, x) => tape.Affine(x, 3, 1), new(x => 3 * x + 1, x => 3), new(x => 3 * x + 1, x => 3)),
    };

    public static TheoryData<string> Names => [.. Functions.Keys];

    private static Limit Zero => new(x => 0, x => 0);

    private static Limit One => new(x => 1, x => 0);

    private static Limit Identity => new(x => x, x => 1);

    private static Limit Square => new(x => x * x, x => 2 * x);

    private static Limit? None => null;

    [Theory]
    [MemberData(nameof(Names))]
    public void AreTheLimits(string name)
    {
        foreach (int bits in (int[])[128, 256, 512])
        {
            using var device = new CpuDevice(1, bits);
            HasLimits(device, name);
        }

        using var reference = new ReferenceDevice();
        HasLimits(reference, name);
    }

    [Fact]
    public void NoActivationIsMissing()
    {
        Activation[] tested = [.. Functions.Keys.Select(ActivationNames.Find).OfType<Activation>()];
        Assert.DoesNotContain(ActivationNames.Names, name => !ActivationNames.IsAdded(name) && !tested.Contains(ActivationNames.Find(name)));
    }

    private static void HasLimits(Device device, string name)
    {
        (Func<Tape, Tensor, Tensor> apply, Limit? left, Limit? right) = Functions[name];
        foreach ((Limit? limit, int sign) in new[] { (left, -1), (right, 1) })
        {
            if (limit is null)
                continue;

            // As many as fill vectors, and then some.
            float[] points = [.. Enumerable.Range(0, 37).Select(i => sign * Points[i % Points.Length])];
            using var tape = new Tape(device);
            var x = new Parameter(device, "x", points.Length);
            x.Load(points);
            Tensor y = apply(tape, x);
            float[] values = y.ToArray(), derivatives = new float[points.Length];
            tape.Backward(tape.Sum(y));
            device.Download(tape.Gradients[x], derivatives);
            for (int i = 0; i < points.Length; i++)
            {
                Near(limit.Value(points[i]), values[i], $"{name}({points[i]}) on {device.Description}");
                Near(limit.Derivative(points[i]), derivatives[i], $"{name}'({points[i]}) on {device.Description}");
            }
        }
    }

    private static void Near(double expected, float actual, string what) =>
        Assert.True((float)expected == actual || Math.Abs(expected - actual) <= Math.Max(1e-37, 1e-6 * Math.Abs(expected)), $"{what} is {actual} instead of {expected}");

    private static Func<Tape, Tensor, Tensor> Named(string name) => (tape, x) => tape.Activate(x, ActivationNames.Find(name)!);

    private sealed record Limit(Func<double, double> Value, Func<double, double> Derivative);
}
