using ILGpuOptim.Compute;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;
using ILGpuOptim.Ops.Functions;

namespace ILGpuOptim.Tests.Autograd;

/// <summary>Every named activation: values by its formula in doubles, derivatives by central differences, alone and fused into products.</summary>
public class ActivationTests
{
    private static readonly float[] Points = [-1e4f, -100, -30, -9.5f, -4, -1.7f, -0.9f, -0.3f, -1e-3f, 1e-3f, 0.2f, 0.8f, 1.6f, 3.3f, 5.8f, 6.3f, 12, 25, 100, 1e4f];

    private static readonly Dictionary<string, Func<double, double>> Formulas = new()
    {
        ["gelu_new"] = GeluByTanh,
        ["gelu_pytorch_tanh"] = GeluByTanh,
        ["gelu_fast"] = GeluByTanh,
        ["gelu_accurate"] = GeluByTanh,
        ["gelu"] = x => x * (1 + Erf(x / Math.Sqrt(2))) / 2,
        ["gelu_python"] = x => x * (1 + Erf(x / Math.Sqrt(2))) / 2,
        ["quick_gelu"] = x => x / (1 + Math.Exp(-1.702 * x)),
        ["silu"] = x => x / (1 + Math.Exp(-x)),
        ["swish"] = x => x / (1 + Math.Exp(-x)),
        ["relu"] = x => Math.Max(x, 0),
        ["relu2"] = x => Math.Max(x, 0) * Math.Max(x, 0),
        ["relu6"] = x => Math.Min(Math.Max(x, 0), 6),
        ["leaky_relu"] = x => x > 0 ? x : 0.01f * x,
        ["elu"] = x => x > 0 ? x : Math.Exp(x) - 1,
        ["mish"] = x => x * Math.Tanh(x > 30 ? x : Math.Log(1 + Math.Exp(x))),
        ["softplus"] = x => x > 30 ? x : x < -30 ? Math.Exp(x) : Math.Log(1 + Math.Exp(x)),
        ["sigmoid"] = x => 1 / (1 + Math.Exp(-x)),
        ["tanh"] = Math.Tanh,
        ["linear"] = x => x,
        ["laplace"] = x => (1 + Erf((x - 0.707107) / (0.282095 * Math.Sqrt(2)))) / 2,
    };

    public static TheoryData<string> Names => [.. Formulas.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void IsItsFormulaOnEveryWidth(string name)
    {
        foreach (int bits in (int[])[128, 256, 512])
        {
            using var device = new CpuDevice(2, bits);
            IsItsFormula(device, name);
        }

        using var reference = new ReferenceDevice();
        IsItsFormula(reference, name);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void ProductsAreTheirPartsOnTheProcessor(string name)
    {
        using var device = new CpuDevice(2);
        ProductsAreTheirParts(device, name);
    }

    /// <summary>A few rows take another way than many, and nothing is kept when nothing is recorded: the numbers are the same.</summary>
    [Fact]
    public void GatedProductsDoNotDependOnRecording()
    {
        using var device = new CpuDevice(2);
        foreach (int rows in (int[])[0, 1, 2, 4, 5, 33])
        {
            foreach (int biases in (int[])[0, 1, 2, 3])
            {
                Parameter x = Normal(device, 0, rows, 17), gate = Normal(device, 1, 9, 17), up = Normal(device, 2, 9, 17);
                Parameter? gateBias = (biases & 1) != 0 ? Normal(device, 3, 9) : null, upBias = (biases & 2) != 0 ? Normal(device, 4, 9) : null;
                var tape = new Tape(device);
                float[] recorded = tape.GatedProduct(x, gate, up, gateBias, upBias, Activation.Mish).ToArray();
                tape.Reset();
                long before = device.Pool.UsedBytes;
                tape.IsRecording = false;
                Tensor result = tape.GatedProduct(x, gate, up, gateBias, upBias, Activation.Mish);
                Near(recorded, result.ToArray(), 1e-6, $"{rows} rows, biases {biases}");
                tape.Reset();
                Assert.Equal(before, device.Pool.UsedBytes);
            }
        }
    }

    [Fact]
    public void KinksAndWhatIsNoNumber()
    {
        using var device = new CpuDevice(1, 256);
        Assert.Equal([0f, 0f, 0f], Derivatives(device, Activation.Relu, [0, -0f, -1]));
        Assert.Equal([0f, 0f, 1f], Derivatives(device, Activation.Relu6, [0, 6, 3]));
        Assert.Equal([0.01f, 1f], Derivatives(device, Activation.LeakyRelu, [0, 1]));
        Assert.Equal([0.5f], Derivatives(device, Activation.Softplus, [0]));
        Assert.Equal([0.25f], Derivatives(device, Activation.Sigmoid, [0]));
        foreach (string name in ActivationNames.Names)
            Assert.True(float.IsNaN(Values(device, ActivationNames.Find(name)!, [float.NaN])[0]), name);
    }

    [Fact]
    public void FunctionsWithConstants()
    {
        using var device = new CpuDevice(1);
        foreach ((Activation activation, Func<double, double> formula) in new (Activation, Func<double, double>)[]
        {
            (Activation.Of(new SoftCap(30)), x => 30 * Math.Tanh(x / 30)),
            (Activation.Of(new LeakyRelu(0.25f)), x => x > 0 ? x : x / 4),
            (Activation.Of(new Elu(1.5f)), x => x > 0 ? x : 1.5 * (Math.Exp(x) - 1)),
        })
        {
            IsFormula(device, activation, formula, formula.Method.Name);
        }
    }

    [Fact]
    public void NamesCanBeAddedOnce()
    {
        ActivationNames.Add("one-more", Activation.Of(new SoftCap(1)));
        Assert.NotNull(ActivationNames.Find("one-more"));
        Assert.Equal(Formulas.Keys.Append("one-more").Order(), ActivationNames.Names.Order());
        Assert.Throws<UserException>(() => ActivationNames.Add("gelu", Activation.Tanh));
        Assert.Null(ActivationNames.Find("geluu"));
        Assert.Contains("did you mean gelu", Assert.Throws<UserException>(() => ActivationNames.Require("config.json", "hidden_act", "geluu")).Message);
    }

    [Fact]
    public void SizesThatDoNotFitAreNamed()
    {
        using var device = new CpuDevice(1);
        var tape = new Tape(device);
        Parameter x = Normal(device, 0, 2, 5), weight = new(device, "mlp.up", 7, 4);
        Assert.Contains("'mlp.up' takes 4 columns, x is 2×5", Assert.Throws<ArgumentException>(() => tape.LinearActivation(x, weight, null, Activation.Relu, transposed: true)).Message);
        Assert.Contains("2×5", Assert.Throws<ArgumentException>(() => tape.Gated(x, Activation.Relu)).Message);
        Assert.Throws<ArgumentException>(() => tape.GatedProduct(x, Normal(device, 1, 7, 5), Normal(device, 2, 6, 5), null, null, Activation.Relu));
        Assert.Throws<ArgumentException>(() => tape.LinearActivation(x, Normal(device, 1, 7, 5), Normal(device, 2, 6), Activation.Relu, transposed: true));
    }

    internal static void IsItsFormula(Device device, string name) => IsFormula(device, ActivationNames.Find(name)!, Formulas[name], name);

    private static void IsFormula(Device device, Activation activation, Func<double, double> formula, string name)
    {
        float[] values = Values(device, activation, Points), derivatives = Derivatives(device, activation, Points);
        for (int i = 0; i < Points.Length; i++)
        {
            double x = Points[i], step = 1e-5 * Math.Max(1, Math.Abs(x)), value = formula(x), derivative = (formula(x + step) - formula(x - step)) / (2 * step);
            Assert.True(Math.Abs(values[i] - value) <= 2e-6 * Math.Max(Math.Abs(value), 1), $"{name}({x}) on {device.Description}: {values[i]} instead of {value}");
            Assert.True(Math.Abs(derivatives[i] - derivative) <= 5e-6 * Math.Max(Math.Abs(derivative), 1), $"{name}'({x}) on {device.Description}: {derivatives[i]} instead of {derivative}");
        }
    }

    /// <summary>Fused products and packed gates are products, activations and factors one by one, gradients included.</summary>
    internal static void ProductsAreTheirParts(Device device, string name)
    {
        Activation activation = ActivationNames.Find(name)!;
        int[][] shapes = [[6, 33], [35, 33], [35, 33], [35], [35]];
        Compare(
            (tape, p) => tape.LinearActivation(p[0], p[1], p[3], activation, transposed: true),
            (tape, p) => tape.Activate(tape.Linear(p[0], p[1], p[3], transposed: true), activation));
        Compare(
            (tape, p) => tape.GatedProduct(p[0], p[1], p[2], p[3], p[4], activation),
            (tape, p) => tape.Apply(new Times(), tape.Activate(tape.Linear(p[0], p[1], p[3], transposed: true), activation), tape.Linear(p[0], p[2], p[4], transposed: true)));
        Compare(
            (tape, p) => tape.Gated(tape.LinearPacked(p[0], [p[1], p[2]]), activation),
            (tape, p) => tape.Apply(new Times(), tape.LinearActivation(p[0], p[1], null, activation, transposed: true), tape.Linear(p[0], p[2], null, transposed: true)));

        void Compare(Func<Tape, Parameter[], Tensor> fused, Func<Tape, Parameter[], Tensor> parts)
        {
            (float[] value, float[][] gradients) = Run(fused);
            (float[] rightValue, float[][] rightGradients) = Run(parts);
            Near(rightValue, value, 1e-6, $"{name} on {device.Name}");
            for (int k = 0; k < gradients.Length; k++)
                Near(rightGradients[k], gradients[k], 1e-6, $"{name} on {device.Name}, gradient {k}");
        }

        (float[], float[][]) Run(Func<Tape, Parameter[], Tensor> make)
        {
            Parameter[] inputs = [.. shapes.Select((shape, k) => Normal(device, k, shape))];
            var tape = new Tape(device);
            Tensor output = make(tape, inputs);
            float[] value = output.ToArray();
            tape.Backward(FunctionCases.Weighted(tape, output));
            float[][] gradients = [.. inputs.Select(input => tape.Gradients.Has(input) ? FunctionCases.GradientOf(tape, input) : [])];
            tape.Dispose();
            return (value, gradients);
        }
    }

    private static float[] Values(Device device, Activation activation, float[] points)
    {
        var tape = new Tape(device);
        float[] result = tape.Activate(Loaded(device, points), activation).ToArray();
        tape.Reset();
        return result;
    }

    /// <summary>The gradients of the sum of activation(x).</summary>
    private static float[] Derivatives(Device device, Activation activation, float[] points)
    {
        Parameter x = Loaded(device, points);
        var tape = new Tape(device);
        Tensor sum = tape.Output([1], x);
        Tensor output = tape.Activate(x, activation);
        tape.Record(new Ones(sum, output));
        tape.Backward(sum);
        float[] result = FunctionCases.GradientOf(tape, x);
        tape.Dispose();
        return result;
    }

    private sealed class Ones(Tensor sum, Tensor input) : Operation(sum, input)
    {
        public override void Backward(Tape tape) => tape.Device.Fill(tape.GradientOf(input, out _), 1);
    }

    private static Parameter Loaded(Device device, float[] points)
    {
        var x = new Parameter(device, "x", 1, points.Length);
        x.Load(points);
        return x;
    }

    private static Parameter Normal(Device device, int stream, params int[] shape)
    {
        var result = new Parameter(device, $"input {stream}", shape);
        device.Random(result.Data, RandomKind.Normal, 0.5f, seed: 11, (ulong)stream);
        return result;
    }

    private static void Near(float[] expected, float[] actual, double bound, string name)
    {
        Assert.Equal(expected.Length, actual.Length);
        double largest = expected.Length == 0 ? 0 : expected.Max(value => Math.Abs((double)value));
        for (int i = 0; i < actual.Length; i++)
            Assert.True(Math.Abs(actual[i] - expected[i]) <= bound * Math.Max(largest, 1e-3), $"{name}[{i}]: {actual[i]} instead of {expected[i]}");
    }

    private static double GeluByTanh(double x) => x * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x))) / 2;

    private static double Erf(double x) => D1.Erf(new D1(x)).Value;

    private readonly struct Times : IFunction2
    {
        public L Apply<L>(L x, L y) where L : struct, ILane<L> => x * y;
    }
}
