using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Autograd;

/// <summary>Operators and methods give what the operations of their tape give, with the same gradients.</summary>
public sealed class TensorOperatorTests : IDisposable
{
    private readonly CpuDevice device = new(1);

    /// <summary>The same twice: by operators or methods, and by the tape.</summary>
    private static readonly Dictionary<string, (Func<Tensor, Tensor, Tensor> Written, Func<Tape, Tensor, Tensor, Tensor> Called)> Table = new()
    {
        ["x + y"] = ((x, y) => x + y, (tape, x, y) => tape.Add(x, y)),
        ["x - y"] = ((x, y) => x - y, (tape, x, y) => tape.Subtract(x, y)),
        ["x * y"] = ((x, y) => x * y, (tape, x, y) => tape.Multiply(x, y)),
        ["x / y"] = ((x, y) => x / y, (tape, x, y) => tape.Divide(x, y)),
        ["x + 2"] = ((x, y) => x + 2, (tape, x, y) => tape.Affine(x, 1, 2)),
        ["2 + x"] = ((x, y) => 2 + x, (tape, x, y) => tape.Affine(x, 1, 2)),
        ["x - 2"] = ((x, y) => x - 2, (tape, x, y) => tape.Affine(x, 1, -2)),
        ["2 - x"] = ((x, y) => 2 - x, (tape, x, y) => tape.Affine(x, -1, 2)),
        ["x * 2"] = ((x, y) => x * 2, (tape, x, y) => tape.Affine(x, 2)),
        ["2 * x"] = ((x, y) => 2 * x, (tape, x, y) => tape.Affine(x, 2)),
        ["x / 3"] = ((x, y) => x / 3, (tape, x, y) => tape.Divide(x, 3)),
        ["2 / x"] = ((x, y) => 2 / x, (tape, x, y) => tape.Divide(2, x)),
        ["-x"] = ((x, y) => -x, (tape, x, y) => tape.Affine(x, -1)),
        ["x > y"] = ((x, y) => x > y, (tape, x, y) => tape.Greater(x, y)),
        ["x < y"] = ((x, y) => x < y, (tape, x, y) => tape.Less(x, y)),
        ["x >= y"] = ((x, y) => x >= y, (tape, x, y) => tape.GreaterOrEqual(x, y)),
        ["x <= y"] = ((x, y) => x <= y, (tape, x, y) => tape.LessOrEqual(x, y)),
        ["x > 0.5"] = ((x, y) => x > 0.5f, (tape, x, y) => tape.Greater(x, 0.5f)),
        ["x < 0.5"] = ((x, y) => x < 0.5f, (tape, x, y) => tape.Less(x, 0.5f)),
        ["x >= 0.5"] = ((x, y) => x >= 0.5f, (tape, x, y) => tape.GreaterOrEqual(x, 0.5f)),
        ["x <= 0.5"] = ((x, y) => x <= 0.5f, (tape, x, y) => tape.LessOrEqual(x, 0.5f)),
        ["(x * y).Sum(-1)"] = ((x, y) => (x * y).Sum(-1), (tape, x, y) => tape.Sum(tape.Multiply(x, y), [-1])),
        ["x.Sum()"] = ((x, y) => x.Sum(), (tape, x, y) => tape.Sum(x)),
        ["x.Sum(0, 2)"] = ((x, y) => x.Sum(0, 2), (tape, x, y) => tape.Sum(x, [0, 2])),
        ["x.Sum([0, 2], keepDims: true)"] = ((x, y) => x.Sum([0, 2], keepDims: true), (tape, x, y) => tape.Sum(x, [0, 2], true)),
        ["x - x.Mean(-1, keepDims: true)"] = ((x, y) => x - x.Mean(-1, keepDims: true), (tape, x, y) => tape.Subtract(x, tape.Mean(x, [-1], true))),
        ["x.Max(1)"] = ((x, y) => x.Max(1), (tape, x, y) => tape.Max(x, [1])),
        ["x.Min(1)"] = ((x, y) => x.Min(1), (tape, x, y) => tape.Min(x, [1])),
        ["x.LogSumExp(1)"] = ((x, y) => x.LogSumExp(1), (tape, x, y) => tape.LogSumExp(x, [1])),
        ["x.ArgMax(1)"] = ((x, y) => x.ArgMax(1), (tape, x, y) => tape.ArgMax(x, 1)),
        ["x.ArgMin(1)"] = ((x, y) => x.ArgMin(1), (tape, x, y) => tape.ArgMin(x, 1)),
        ["x.Variance([1])"] = ((x, y) => x.Variance([1]), (tape, x, y) => tape.Variance(x, [1])),
        ["x.StandardDeviation([1], 0)"] = ((x, y) => x.StandardDeviation([1], 0), (tape, x, y) => tape.StandardDeviation(x, [1], 0)),
        ["x.Norm([1])"] = ((x, y) => x.Norm([1]), (tape, x, y) => tape.Norm(x, [1])),
        ["x.Softmax(1)"] = ((x, y) => x.Softmax(1), (tape, x, y) => tape.Softmax(x, 1)),
        ["x.LogSoftmax()"] = ((x, y) => x.LogSoftmax(), (tape, x, y) => tape.LogSoftmax(x)),
        ["x.Square()"] = ((x, y) => x.Square(), (tape, x, y) => tape.Square(x)),
        ["x.Sqrt()"] = ((x, y) => x.Sqrt(), (tape, x, y) => tape.Sqrt(x)),
        ["x.Rsqrt()"] = ((x, y) => x.Rsqrt(), (tape, x, y) => tape.Rsqrt(x)),
        ["x.Exp()"] = ((x, y) => x.Exp(), (tape, x, y) => tape.Exp(x)),
        ["x.Log()"] = ((x, y) => x.Log(), (tape, x, y) => tape.Log(x)),
        ["x.Abs()"] = ((x, y) => x.Abs(), (tape, x, y) => tape.Abs(x)),
        ["x.Tanh()"] = ((x, y) => x.Tanh(), (tape, x, y) => tape.Tanh(x)),
        ["x.Sigmoid()"] = ((x, y) => x.Sigmoid(), (tape, x, y) => tape.Sigmoid(x)),
        ["x.Relu()"] = ((x, y) => x.Relu(), (tape, x, y) => tape.Relu(x)),
        ["x.Pow(1.5f)"] = ((x, y) => x.Pow(1.5f), (tape, x, y) => tape.Pow(x, 1.5f)),
        ["x.Pow(y)"] = ((x, y) => x.Pow(y), (tape, x, y) => tape.Pow(x, y)),
        ["x.Maximum(y)"] = ((x, y) => x.Maximum(y), (tape, x, y) => tape.Maximum(x, y)),
        ["x.Minimum(y)"] = ((x, y) => x.Minimum(y), (tape, x, y) => tape.Minimum(x, y)),
        ["x.Clamp(0.6f, 0.9f)"] = ((x, y) => x.Clamp(0.6f, 0.9f), (tape, x, y) => tape.Clamp(x, 0.6f, 0.9f)),
        ["x.MaskedFill(y > 1, -1)"] = ((x, y) => x.MaskedFill(y > 1, -1), (tape, x, y) => tape.MaskedFill(x, tape.Greater(y, 1), -1)),
        ["x.EqualTo(y)"] = ((x, y) => x.EqualTo(y), (tape, x, y) => tape.Equal(x, y)),
        ["x.EqualTo(1)"] = ((x, y) => x.EqualTo(1), (tape, x, y) => tape.Equal(x, 1)),
        ["x.NotEqualTo(y)"] = ((x, y) => x.NotEqualTo(y), (tape, x, y) => tape.NotEqual(x, y)),
        ["x.NotEqualTo(1)"] = ((x, y) => x.NotEqualTo(1), (tape, x, y) => tape.NotEqual(x, 1)),
        ["x.MatMul(y)"] = ((x, y) => x.MatMul(y, transposeB: true), (tape, x, y) => tape.MatMul(x, y, transposeB: true)),
        ["x.Reshape(-1)"] = ((x, y) => x.Reshape(-1), (tape, x, y) => tape.Reshape(x, -1)),
        ["x.Flatten(1)"] = ((x, y) => x.Flatten(1), (tape, x, y) => tape.Flatten(x, 1)),
        ["x.Unsqueeze(0).Squeeze(0)"] = ((x, y) => x.Unsqueeze(0).Squeeze(0), (tape, x, y) => tape.Squeeze(tape.Unsqueeze(x, 0), 0)),
        ["x.Permute(2, 0, 1)"] = ((x, y) => x.Permute(2, 0, 1), (tape, x, y) => tape.Permute(x, 2, 0, 1)),
        ["x.Transpose()"] = ((x, y) => x.Transpose(), (tape, x, y) => tape.Transpose(x)),
        ["x.Unsqueeze(0).Expand(2, -1, -1, -1)"] = ((x, y) => x.Unsqueeze(0).Expand(2, -1, -1, -1), (tape, x, y) => tape.Expand(x, 2, 2, 3, 4)),
        ["x.Slice(1, 1..)"] = ((x, y) => x.Slice(1, 1..), (tape, x, y) => tape.Slice(x, 1, 1..)),
        ["x.Select(1, ^1)"] = ((x, y) => x.Select(1, ^1), (tape, x, y) => tape.Select(x, 1, ^1)),
        ["x.Flip(1)"] = ((x, y) => x.Flip(1), (tape, x, y) => tape.Flip(x, 1)),
        ["x.Split(1, 1, 2)[1]"] = ((x, y) => x.Split(1, 1, 2)[1], (tape, x, y) => tape.Split(x, 1, 1, 2)[1]),
        ["x.Chunk(2)[1]"] = ((x, y) => x.Chunk(2)[1], (tape, x, y) => tape.Chunk(x, 2)[1]),
        ["x.Pad([(1, 2)])"] = ((x, y) => x.Pad([(1, 2)]), (tape, x, y) => tape.Pad(x, [(1, 2)])),
        ["x.IndexSelect(1, [2, 0])"] = ((x, y) => x.IndexSelect(1, [2, 0]), (tape, x, y) => tape.IndexSelect(x, 1, [2, 0])),
        ["x.IndexAdd(1, [2, 0, 2], y)"] = ((x, y) => x.IndexAdd(1, [2, 0, 2], y.Expand(2, 3, 4)), (tape, x, y) => tape.IndexAdd(x, 1, [2, 0, 2], tape.Expand(y, 2, 3, 4))),
        ["x.Select(0, 0).Gather(1, …)"] = ((x, y) => x.Select(0, 0).Gather(1, [2, 0, 1]), (tape, x, y) => tape.Gather(tape.Select(x, 0, 0), 1, [2, 0, 1])),
        ["y.ScatterAdd(1, …, x)"] = ((x, y) => y.ScatterAdd(1, [0, 1, 2], x.Select(0, 0).Slice(1, ..1)), (tape, x, y) => tape.ScatterAdd(y, 1, [0, 1, 2], tape.Slice(tape.Select(x, 0, 0), 1, ..1))),
        ["x.Unsqueeze(0).Conv2d(…)"] = ((x, y) => x.Unsqueeze(0).Conv2d(y.Reshape(1, 2, 3, 2)), (tape, x, y) => tape.Conv2d(tape.Unsqueeze(x, 0), tape.Reshape(y, 1, 2, 3, 2))),
        ["x.Conv1d(…)"] = ((x, y) => x.Conv1d(y.Reshape(2, 3, 2)), (tape, x, y) => tape.Conv1d(x, tape.Reshape(y, 2, 3, 2))),
        ["x.Unsqueeze(0).MaxPool2d(2)"] = ((x, y) => x.Unsqueeze(0).MaxPool2d(2), (tape, x, y) => tape.MaxPool2d(tape.Unsqueeze(x, 0), 2)),
        ["x.Unsqueeze(0).AvgPool2d(2)"] = ((x, y) => x.Unsqueeze(0).AvgPool2d(2), (tape, x, y) => tape.AvgPool2d(tape.Unsqueeze(x, 0), 2)),
        ["x.MaxPool1d(2)"] = ((x, y) => x.MaxPool1d(2), (tape, x, y) => tape.MaxPool1d(x, 2)),
        ["x.AvgPool1d(2)"] = ((x, y) => x.AvgPool1d(2), (tape, x, y) => tape.AvgPool1d(x, 2)),
        ["x.MseLoss(y)"] = ((x, y) => x.MseLoss(y), (tape, x, y) => tape.MseLoss(x, y)),
        ["x.HuberLoss(y)"] = ((x, y) => x.HuberLoss(y), (tape, x, y) => tape.HuberLoss(x, y)),
        ["x.BinaryCrossEntropyWithLogits(y)"] = ((x, y) => x.BinaryCrossEntropyWithLogits(y), (tape, x, y) => tape.BinaryCrossEntropyWithLogits(x, y)),
        ["x.KlDivergence(y)"] = ((x, y) => x.KlDivergence(y), (tape, x, y) => tape.KlDivergence(x, y)),
        ["x.CrossEntropy(…)"] = ((x, y) => x.CrossEntropy([0, 1, 2, 3, 0, 1]), (tape, x, y) => tape.CrossEntropy(x, [0, 1, 2, 3, 0, 1])),
    };

    public static TheoryData<string> Names => [.. Table.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void IsWhatTheTapeGives(string name)
    {
        (Func<Tensor, Tensor, Tensor> written, Func<Tape, Tensor, Tensor, Tensor> called) = Table[name];
        (float[] value, float[] gradient) = Run((tape, x, y) => written(x, y));
        (float[] expected, float[] expectedGradient) = Run(called);
        Assert.Equal(expected, value);
        Assert.Equal(expectedGradient, gradient);
    }

    [Fact]
    public void AParameterTakesTheTapeOfTheOtherOperandAndHasNoneItself()
    {
        using var tape = new Tape(device);
        var weight = new Parameter(device, "weight", 2);
        weight.Load([3, 4]);
        Assert.Equal([4, 6], (tape.Constant([1, 2]) + weight).ToArray());
        Assert.Equal([3, 8], (weight * tape.Constant([1, 2])).ToArray());
    }

    [Fact]
    public void AnOperationOfNoTapeIsRefusedByTheNameOfTheTapesMethod()
    {
        var weight = new Parameter(device, "weight", 2);
        Refused("Add", () => weight + weight);
        Refused("Multiply", () => weight * weight);
        Refused("Affine", () => 2 - weight);
        Refused("Divide", () => weight / 2);
        Refused("GreaterOrEqual", () => weight >= 1);
        Refused("Sum", () => weight.Sum());

        static void Refused(string operation, Func<Tensor> apply)
        {
            string message = Assert.Throws<InvalidOperationException>(apply).Message;
            Assert.StartsWith($"{operation}: [2] belongs to no tape", message, StringComparison.Ordinal);
            Assert.Contains($"call tape.{operation} on", message);
        }
    }

    /// <summary>Operators with a number round once, as IEEE 754 has it, and keep the sign of zero.</summary>
    [Theory]
    [InlineData(128)]
    [InlineData(256)]
    [InlineData(512)]
    public void NumbersAsOperandsRoundOnce(int bits)
    {
        using var processor = new CpuDevice(1, bits);
        using var tape = new Tape(processor);
        float[] special = [0, -0f, 1, -1, 1e-45f, -1e-45f, 1e-38f, 3e38f, -3e38f, float.PositiveInfinity, float.NegativeInfinity, float.NaN];
        var random = new Random(1);
        float[] values = [.. special, .. Enumerable.Range(0, 499).Select(_ => BitConverter.Int32BitsToSingle(random.Next(int.MinValue, int.MaxValue)))];
        Tensor x = tape.Constant(values);
        foreach (float y in (float[])[3, -0.1f, 1e-30f, 7e37f, .. special])
        {
            Same((x + y).ToArray(), value => value + y, "x + ", y);
            Same((y + x).ToArray(), value => y + value, "+ x, ", y);
            Same((x - y).ToArray(), value => value - y, "x - ", y);
            Same((y - x).ToArray(), value => y - value, "- x, ", y);
            Same((x * y).ToArray(), value => value * y, "x * ", y);
            Same((x / y).ToArray(), value => value / y, "x / ", y);
            Same((y / x).ToArray(), value => y / value, "/ x, ", y);
        }

        Same((-x).ToArray(), value => -value, "-x", 0);

        void Same(float[] actual, Func<float, float> expected, string what, float y)
        {
            for (int i = 0; i < actual.Length; i++)
            {
                float right = expected(values[i]);
                Assert.True(float.IsNaN(right) ? float.IsNaN(actual[i]) : BitConverter.SingleToInt32Bits(right) == BitConverter.SingleToInt32Bits(actual[i]), $"{what}{y:R} at {values[i]:R}: {actual[i]:R} instead of {right:R}");
            }
        }
    }

    public void Dispose() => device.Dispose();

    private (float[] Value, float[] Gradient) Run(Func<Tape, Tensor, Tensor, Tensor> apply)
    {
        using var tape = new Tape(device);
        var x = new Parameter(device, "x", 2, 3, 4);
        x.Load([.. Enumerable.Range(0, 24).Select(i => 0.5f + i * 7 % 24 * 0.05f)]);
        Tensor y = tape.Constant([.. Enumerable.Range(0, 12).Select(i => 0.5f + i * 5 % 12 * 0.1f)], 3, 4);
        Tensor result = apply(tape, tape.Affine(x, 1), y);
        float[] value = result.ToArray();
        Tensor loss = tape.Sum(tape.Square(result));
        var gradient = new float[x.Length];
        if (!loss.RequiresGradient)
            return (value, gradient);
        tape.Backward(loss);
        device.Download(tape.Gradients[x], gradient);
        return (value, gradient);
    }
}
