using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Autograd;

/// <summary>Applied functions against central differences, and on every device.</summary>
public class FunctionTests
{
    public static TheoryData<string> Names => [.. FunctionCases.All.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void AgreesWithCentralDifferences(string name)
    {
        FunctionCases.Case test = FunctionCases.All[name];
        using var device = new ReferenceDevice();
        Parameter[] inputs = FunctionCases.Inputs(device, test);
        var tape = new Tape(device);
        tape.Backward(FunctionCases.Weighted(tape, test.Apply(tape, FunctionCases.Arguments(tape, test, inputs))));
        foreach (Parameter input in inputs)
        {
            Block gradient = tape.Gradients[input];
            for (int i = 0; i < input.Length; i += 1 + (int)input.Length / 40)
            {
                double value = device[input.Data, i], expected = (Loss(1e-5) - Loss(-1e-5)) / 2e-5;
                device[input.Data, i] = value;
                Assert.True(Math.Abs(device[gradient, i] - expected) <= 1e-8 * Math.Max(1, Math.Abs(expected)), $"{input.Name}[{i}]: {device[gradient, i]} instead of {expected}");

                double Loss(double step)
                {
                    device[input.Data, i] = value + step;
                    var fresh = new Tape(device) { IsRecording = false };
                    double loss = device[FunctionCases.Weighted(fresh, test.Apply(fresh, FunctionCases.Arguments(fresh, test, inputs))).Data, 0];
                    fresh.Reset();
                    return loss;
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void VectorsOfEveryWidthAgreeWithDoublePrecision(string name)
    {
        foreach (int bits in (int[])[128, 256, 512])
        {
            using var device = new CpuDevice(2, bits);
            AgreesWithReference(device, name);
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void InputsThatNeedNoGradientGetNone(string name)
    {
        FunctionCases.Case test = FunctionCases.All[name];
        using var device = new CpuDevice(1);
        float[]?[] all = FunctionCases.Run(device, test).Gradients;
        for (int mask = 1; mask < 1 << all.Length; mask++)
        {
            bool[] trains = [.. Enumerable.Range(0, all.Length).Select(k => (mask >> k & 1) != 0)];
            float[]?[] some = FunctionCases.Run(device, test, trains).Gradients;
            for (int k = 0; k < all.Length; k++)
                Close(trains[k] ? all[k] : null, some[k], $"{name}, mask {mask}, input {k}");
        }
    }

    [Fact]
    public void EmptyInputs()
    {
        using var device = new CpuDevice(1);
        var tape = new Tape(device);
        Tensor none = tape.Apply(new Product(), new Parameter(device, "none", 0, 3), new Parameter(device, "row", 3));
        Assert.Equal([0, 3], none.Shape);
        Assert.Empty(none.ToArray());
        tape.Reset();
    }

    [Fact]
    public void ShapesThatDoNotFitAreRefused()
    {
        using var device = new CpuDevice(1);
        var tape = new Tape(device);
        Tensor x = new Parameter(device, "x", 4, 3), y = new Parameter(device, "y", 4);
        Assert.Contains("Apply: 4×3 and [4] cannot be broadcast", Assert.Throws<ArgumentException>(() => tape.Apply(new Product(), x, y)).Message);
    }

    [Fact]
    public void EverythingIsGivenBack()
    {
        using var device = new CpuDevice(1);
        foreach (FunctionCases.Case test in FunctionCases.All.Values)
        {
            Parameter[] inputs = FunctionCases.Inputs(device, test);
            var tape = new Tape(device);
            long before = device.Pool.UsedBytes;
            tape.Backward(FunctionCases.Weighted(tape, test.Apply(tape, FunctionCases.Arguments(tape, test, inputs))));
            tape.Dispose();
            Assert.Equal(before, device.Pool.UsedBytes);
        }
    }

    internal static void AgreesWithReference(Device device, string name)
    {
        FunctionCases.Case test = FunctionCases.All[name];
        using var reference = new ReferenceDevice();
        var (value, gradients) = FunctionCases.Run(device, test);
        var (rightValue, rightGradients) = FunctionCases.Run(reference, test);
        Close(rightValue, value, name);
        for (int k = 0; k < gradients.Length; k++)
            Close(rightGradients[k], gradients[k], $"{name}, input {k}");
    }

    private static void Close(float[]? expected, float[]? actual, string name)
    {
        Assert.Equal(expected is null, actual is null);
        if (expected is null || actual is null)
            return;
        Assert.Equal(expected.Length, actual.Length);
        double largest = expected.Length == 0 ? 0 : expected.Max(value => Math.Abs((double)value));
        for (int i = 0; i < actual.Length; i++)
            Assert.True(Math.Abs(actual[i] - expected[i]) <= 1e-5 * Math.Max(largest, 1e-3), $"{name}[{i}]: {actual[i]} instead of {expected[i]}");
    }

    private readonly struct Product : IFunction2
    {
        public L Apply<L>(L x, L y) where L : struct, ILane<L> => x * y;
    }
}
