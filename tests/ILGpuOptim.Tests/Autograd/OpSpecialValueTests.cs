using ILGpuOptim.Compute;
using ILGpuOptim.Ops;
using ILGpuOptim.Tests.Devices;

namespace ILGpuOptim.Tests.Autograd;

/// <summary>NaN, infinities, ties and zeros: results that no formula over ordinary numbers shows. Stamped on each device below.</summary>
public abstract class OpSpecialValueTests(Device device)
{
    private const float NaN = float.NaN, Infinity = float.PositiveInfinity;

    [Fact]
    public void ElementsStayNotANumber()
    {
        float[] x = [NaN, Infinity, -Infinity, 0, -2];
        Assert.Equal([NaN, Infinity, 0, 0, 0], Of(x, (tape, t) => tape.Relu(t)));
        Assert.Equal([NaN, 1, -1, 0, -1], Of(x, (tape, t) => tape.Clamp(t, -1, 1)));
        Assert.Equal([NaN, Infinity, 1, 1, 1], Of(x, (tape, t) => tape.Maximum(t, tape.Ones())));
        Assert.Equal([NaN, Infinity, 1, 1, 1], Of(x, (tape, t) => tape.Maximum(tape.Ones(), t)));
        Assert.Equal([NaN, 1, -Infinity, 0, -2], Of(x, (tape, t) => tape.Minimum(t, tape.Ones())));
        Assert.Equal([NaN, 1, 0, 0.5f], Of(x[..4], (tape, t) => tape.Sigmoid(t)));
        Assert.Equal([NaN, Infinity, 0, 1], Of(x[..4], (tape, t) => tape.Exp(t)));
        Assert.Equal([NaN, Infinity, NaN, -Infinity, NaN], Of(x, (tape, t) => tape.Log(t)));
        Assert.Equal([NaN, Infinity, NaN, 0, NaN], Of(x, (tape, t) => tape.Sqrt(t)));
        Assert.Equal([NaN, Infinity, 0], Of([NaN, Infinity, 0], (tape, t) => tape.Pow(t, 2.5f)));
        Assert.Equal([0, 0, 0, 1, 1], Of(x, (tape, t) => tape.Less(t, tape.Full(1))).Select((value, i) => i == 2 ? 0 : value));
        Assert.Equal([1, 0, 0, 0, 0], Of(x, (tape, t) => tape.NotEqual(t, t)));
        Assert.Equal([0, 1, 1, 1, 1], Of(x, (tape, t) => tape.LessOrEqual(t, t)));
        Assert.Equal([7, 7, 7, 0, 7], Of(x, (tape, t) => tape.MaskedFill(tape.Zeros(5), t, 7)));
    }

    [Fact]
    public void PowersOfNegativeNumbers()
    {
        Close([-8, 4, NaN, 1, 0, Infinity, 1], Of([3, 2, 0.5f, 0, 0, 0, 0], (tape, t) => tape.Pow(tape.Constant([-2, -2, -2, -2, 0, 0, 0]), tape.Add(t, tape.Constant([0, 0, 0, 0, 2, -1, 0])))));
        Assert.Equal([NaN, NaN, 0], Of([NaN, NaN, Infinity], (tape, t) => tape.Pow(tape.Constant([0, 2, 0]), t)));
        Close([-32, 0, 32], Of([-2, 0, 2], (tape, t) => tape.Pow(t, 5)));
    }

    /// <summary>IEEE 754's pow at zeros, ones, infinities and NaN, signs of zeros included.</summary>
    [Fact]
    public void PowersOfSpecialValuesAreThoseOfTheStandard()
    {
        float[] values = [0, -0f, 1, -1, 2, -2, 3, -3, 0.5f, -0.5f, Infinity, -Infinity, NaN];
        (float X, float Y)[] pairs = [.. values.SelectMany(x => values, (x, y) => (x, y))];
        float[] powers = Of([.. pairs.Select(pair => pair.X)], (tape, t) => tape.Pow(t, tape.Constant([.. pairs.Select(pair => pair.Y)])));
        for (int i = 0; i < pairs.Length; i++)
        {
            double expected = Math.Pow(pairs[i].X, pairs[i].Y);
            Assert.True(expected.Equals(powers[i]) || Math.Abs(expected - powers[i]) <= 2e-6 * Math.Abs(expected), $"{pairs[i]}: {powers[i]}, not {expected}");
            Assert.True(powers[i] != 0 || double.IsNegative(expected) == float.IsNegative(powers[i]), $"{pairs[i]}: the sign of zero");
        }
    }

    [Fact]
    public void ReductionsShowNotANumber()
    {
        float[] x = [1, NaN, 3, -Infinity, 2, 5];
        Assert.Equal([NaN, 5], Of(x, (tape, t) => tape.Max(tape.Reshape(t, 2, 3), [1])));
        Assert.Equal([NaN, -Infinity], Of(x, (tape, t) => tape.Min(tape.Reshape(t, 2, 3), [1])));
        Assert.Equal([NaN, -Infinity], Of(x, (tape, t) => tape.Sum(tape.Reshape(t, 2, 3), [1])));
        Assert.Equal([1, 2], Of(x, (tape, t) => tape.ArgMax(tape.Reshape(t, 2, 3))));
        Assert.Equal([1, 0], Of(x, (tape, t) => tape.ArgMin(tape.Reshape(t, 2, 3))));
        Assert.Equal([-Infinity], Of([-Infinity, -Infinity], (tape, t) => tape.LogSumExp(t)));
        Assert.Equal([Infinity], Of([Infinity, 1], (tape, t) => tape.LogSumExp(t)));
        Assert.Equal([NaN], Of([NaN, 1], (tape, t) => tape.LogSumExp(t)));
        Assert.Equal([NaN], Of([], (tape, t) => tape.Mean(t)));
        Assert.Equal([NaN], Of([], (tape, t) => tape.Variance(t)));
        Assert.Equal([NaN], Of([3], (tape, t) => tape.Variance(t)));
        Assert.Equal([NaN, NaN, NaN, 0, 0, 1], Of([1, NaN, 3, -Infinity, -Infinity, 5], (tape, t) => tape.Softmax(tape.Reshape(t, 2, 3))));
        Close([1000 + MathF.Log(2)], Of([1000, 1000], (tape, t) => tape.LogSumExp(t)));
    }

    [Fact]
    public void GradientsAtCornersAreThoseOfTheField()
    {
        Assert.Equal([0, 0, 1], Gradient([-1, 0, 1], (tape, t) => tape.Sum(tape.Relu(t))));
        Assert.Equal([-1, 0, 1], Gradient([-1, 0, 1], (tape, t) => tape.Sum(tape.Abs(t))));
        Assert.Equal([0, 1, 1, 1, 0], Gradient([-2, -1, 0, 1, 2], (tape, t) => tape.Sum(tape.Clamp(t, -1, 1))));
        Assert.Equal([0.5f, 0.5f, 0], Gradient([2, 2, 1], (tape, t) => tape.Max(t)));
        Assert.Equal([0, 0], Gradient([0, 0], (tape, t) => tape.Norm(t)));
        Close([1, 0, 0, 1], Gradient([0, 0, 0, -2], (tape, t) => tape.Sum(tape.Pow(t, tape.Constant([1, 2, 3, 1])))));
        Close([0, 0.25f, 0], Gradient([-200, 0, 200], (tape, t) => tape.Sum(tape.Sigmoid(t))));
        Close([0, 0.5f, 1], Gradient([-200, 0, 200], (tape, t) => tape.BinaryCrossEntropyWithLogits(t, tape.Zeros(3), LossReduction.Sum)));
        Assert.Equal([-0.25f, 1], Gradient([-4, 1], (tape, t) => tape.Sum(tape.Select(tape.Where(tape.Greater(tape.Stack([t, t]), tape.Zeros()), tape.Log(tape.Abs(tape.Stack([t, t]))), tape.Log(tape.Abs(tape.Stack([t, t])))), 0, 1))));
        Assert.Equal([0, 0, 0, 0], Gradient([1, 2, 3, 4], (tape, t) => tape.Sum(tape.Greater(t, tape.Ones()) is var mask ? tape.Multiply(tape.Affine(t, 0), mask) : t)));
    }

    [Fact]
    public void AMaskOfInfinitiesHasNoGradient()
    {
        float[] gradient = Gradient([1, 2, 3, 4], (tape, t) =>
        {
            Tensor scores = tape.Affine(tape.MaskedFill(tape.Reshape(t, 2, 2), tape.Constant([0, 1, 0, 0], 2, 2), -Infinity), 0.5f);
            return tape.Sum(tape.Multiply(tape.Softmax(scores), tape.Constant([1, 2, 3, 4], 2, 2)));
        });
        Assert.Equal(0, gradient[0], 1e-7f);
        Assert.Equal(0, gradient[1], 1e-7f);
        Assert.All(gradient[2..], value => Assert.NotEqual(0, value));
    }

    [Fact]
    public void IgnoredRowsCountNothingEvenWhenNotANumber()
    {
        float[] x = [NaN, 1, Infinity, 0, 0, 0];
        Close([MathF.Log(3)], Of(x, (tape, t) => tape.CrossEntropy(tape.Reshape(t, 2, 3), [-100, 1])));
        Close([0, 0, 0, 1 / 3f, -2 / 3f, 1 / 3f], Gradient(x, (tape, t) => tape.CrossEntropy(tape.Reshape(t, 2, 3), [-100, 1])));
        Assert.Equal([NaN], Of(x, (tape, t) => tape.CrossEntropy(tape.Reshape(t, 2, 3), [-100, -100])));
        Close([0], Of([1000, 0, -Infinity], (tape, t) => tape.CrossEntropy(t, [0])));
    }

    [Fact]
    public void TheFirstOfEqualElementsOfAWindowHasTheGradient()
    {
        Assert.Equal([1, 0, 0, 0], Gradient([0, 0, 0, 0], (tape, t) => tape.Sum(tape.MaxPool2d(tape.Reshape(t, 1, 1, 2, 2), 2))));
        Assert.Equal([NaN], Of([0, 7, NaN, 0], (tape, t) => tape.MaxPool2d(tape.Reshape(t, 1, 1, 2, 2), 2)));
        Assert.Equal([0, 0, 1, 0], Gradient([0, 7, NaN, 0], (tape, t) => tape.Sum(tape.MaxPool2d(tape.Reshape(t, 1, 1, 2, 2), 2))));
    }

    [Fact]
    public void ALossOfOneNumberStaysReadableAfterTheBackwardPass()
    {
        var tape = new Tape(device);
        var x = new Parameter(device, "x", 3);
        x.Load([1, 2, 3]);
        Tensor loss = tape.Affine(tape.Reshape(tape.Mean(tape.Square(x)), []), 3);
        tape.Backward(loss);
        Assert.Equal(14, loss.Item(), 1e-5f);
        tape.Reset();
    }

    [Fact]
    public void NarrowParametersAreWidened()
    {
        foreach (DType type in (DType[])[DType.BF16, DType.I8])
        {
            var tape = new Tape(device);
            var x = new Parameter(device, "x", type, 3, 300);
            x.Load([.. Enumerable.Range(0, 900).Select(i => i % 3 - 1f)]);
            tape.Backward(tape.Sum(tape.Multiply(tape.Transpose(x), tape.Reshape(x, 300, 3))));
            var gradient = new float[900];
            device.Download(tape.Gradients[x], gradient);
            for (int i = 0; i < 900; i++)
            {
                // ∂/∂x of Σ xᵀ[j, i] · x as 300×3.
                int transposed = i % 300 * 3 + i / 300, other = i % 3 * 300 + i / 3;
                Assert.Equal(Value(transposed) + Value(other), gradient[i]);
            }

            tape.Reset();

            static float Value(int i) => i % 3 - 1f;
        }
    }

    [Fact]
    public void RandomTensorsHaveTheirDistribution()
    {
        var tape = new Tape(device) { Seed = 5 };
        float[] normal = tape.RandomNormal(3, 2, 200, 100).ToArray(), uniform = tape.RandomUniform(-1, 3, 200, 100).ToArray(), next = tape.RandomNormal(3, 2, 200, 100).ToArray();
        double mean = normal.Average(value => (double)value);
        Assert.Equal(3, mean, 0.06);
        Assert.Equal(2, Math.Sqrt(normal.Average(value => (value - mean) * (value - mean))), 0.06);
        Assert.Equal(1, uniform.Average(value => (double)value), 0.05);
        Assert.All(uniform, value => Assert.InRange(value, -1, 3));
        Assert.NotEqual(normal, next);
        tape.Reset();
    }

    private float[] Of(float[] values, Func<Tape, Tensor, Tensor> apply)
    {
        var tape = new Tape(device);
        float[] result = apply(tape, tape.Constant(values, values.Length)).ToArray();
        tape.Reset();
        return result;
    }

    private float[] Gradient(float[] values, Func<Tape, Tensor, Tensor> loss)
    {
        var tape = new Tape(device);
        var x = new Parameter(device, "x", values.Length);
        x.Load(values);
        tape.Backward(loss(tape, x));
        var gradient = new float[values.Length];
        device.Download(tape.Gradients[x], gradient);
        tape.Reset();
        return gradient;
    }

    private static void Close(float[] expected, float[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
            Assert.True(expected[i].Equals(actual[i]) || Math.Abs(expected[i] - actual[i]) <= 1e-6 * Math.Max(1, Math.Abs(expected[i])), $"[{i}]: {actual[i]} instead of {expected[i]}");
    }
}

public class CpuOpSpecialValueTests() : OpSpecialValueTests(new CpuDevice(2));

public class ReferenceOpSpecialValueTests() : OpSpecialValueTests(new ReferenceDevice());

[Collection("gpu"), Trait("device", "opencl")]
public class OpenClOpSpecialValueTests() : OpSpecialValueTests(Gpu.OpenCl());

[Collection("gpu"), Trait("device", "cuda")]
public class CudaOpSpecialValueTests() : OpSpecialValueTests(Gpu.Cuda());
