using ILGpuOptim.Compute;
using ILGpuOptim.Ops;
using ILGpuOptim.Tests.Devices;

namespace ILGpuOptim.Tests.Autograd;

/// <summary>General operations against plain loops, central differences in double precision, and on every device.</summary>
public class OpTests
{
    public static TheoryData<string> Names => [.. OpCases.All.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void AgreesWithPlainLoops(string name)
    {
        OpCases.Case test = OpCases.All[name];
        using var device = new ReferenceDevice();
        Parameter[] inputs = OpCases.Inputs(device, test);
        var tape = new Tape(device);
        Tensor output = test.Apply(tape, OpCases.Arguments(tape, inputs));
        NdArray expected = test.Expected([.. inputs.Select(input => new NdArray([.. input.Shape], [.. Enumerable.Range(0, (int)input.Length).Select(i => device[input.Data, i])]))]);
        Assert.Equal(expected.Shape, output.Shape);
        for (int i = 0; i < output.Length; i++)
            Assert.True(Math.Abs(device[output.Data, i] - expected.Values[i]) <= 2e-7 * Math.Max(1, Math.Abs(expected.Values[i])), $"{name}[{i}]: {device[output.Data, i]} instead of {expected.Values[i]}");
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void AgreesWithCentralDifferences(string name)
    {
        OpCases.Case test = OpCases.All[name];
        using var device = new ReferenceDevice();
        Parameter[] inputs = OpCases.Inputs(device, test);
        var tape = new Tape(device);
        Tensor loss = OpCases.Weighted(tape, test.Apply(tape, OpCases.Arguments(tape, inputs)));
        if (loss.RequiresGradient)
            tape.Backward(loss);
        foreach (Parameter input in inputs)
        {
            for (int i = 0; i < input.Length; i += 1 + (int)input.Length / 30)
            {
                double value = device[input.Data, i], expected = (Loss(1e-5) - Loss(-1e-5)) / 2e-5, actual = tape.Gradients.Has(input) ? device[tape.Gradients[input], i] : 0;
                device[input.Data, i] = value;
                Assert.True(Math.Abs(actual - expected) <= 1e-6 * Math.Max(1, Math.Abs(expected)), $"{input.Name}[{i}]: {actual} instead of {expected}");

                double Loss(double step)
                {
                    device[input.Data, i] = value + step;
                    var fresh = new Tape(device) { IsRecording = false };
                    double result = device[OpCases.Weighted(fresh, test.Apply(fresh, OpCases.Arguments(fresh, inputs))).Data, 0];
                    fresh.Reset();
                    return result;
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

    /// <summary>
    /// Activations in bf16 as inputs give the results of their values: of most operations in f32, of element-wise ones rounded to bf16, as the gradients of
    /// the inputs are. Losses of several element-wise operations round as often, and so do gradients of inputs that are used several times.
    /// </summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void ReadsBf16(string name)
    {
        using var device = new CpuDevice(2);
        OpCases.Case test = OpCases.All[name];
        (float[] value, float[][] gradients) = Run(DType.F32);
        (float[] narrowValue, float[][] narrowGradients) = Run(DType.BF16);
        Near(value, narrowValue, 2 / 256.0, $"{name}, result");
        for (int k = 0; k < gradients.Length; k++)
            Near(gradients[k], narrowGradients[k], 6 / 256.0, $"{name}, input {k}");

        (float[], float[][]) Run(DType type)
        {
            Parameter[] inputs = OpCases.Inputs(device, test);
            foreach (Parameter input in inputs)
                input.Load([.. input.ToArray().Select(number => Bf16.Widen(Bf16.Narrow(number)))]);
            using var tape = new Tape(device);
            Tensor output = test.Apply(tape, [.. inputs.Select(input => tape.As(input, type))]);
            float[] result = output.ToArray();
            Tensor loss = OpCases.Weighted(tape, output);
            if (loss.RequiresGradient)
                tape.Backward(loss);
            return (result, [.. inputs.Select(input => OpCases.GradientOf(tape, input))]);
        }

        static void Near(float[] expected, float[] actual, double bound, string what)
        {
            double largest = expected.Where(float.IsFinite).Select(number => Math.Abs((double)number)).DefaultIfEmpty(0).Max();
            for (int i = 0; i < expected.Length; i++)
                Assert.True(actual[i].Equals(expected[i]) || Math.Abs(actual[i] - expected[i]) <= bound * largest, $"{what}[{i}]: {actual[i]} instead of {expected[i]}, of up to {largest}");
        }
    }

    /// <summary>Operations that work chunk by chunk give the same whatever a chunk holds.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void SmallChunksAgreeWithDoublePrecision(string name)
    {
        if (!name.Contains("convolution", StringComparison.Ordinal) && !name.Contains("product", StringComparison.Ordinal))
            return;
        foreach (long chunk in (long[])[1, 40, 300])
        {
            using var inner = new CpuDevice(1);
            using var device = new DistantDevice(inner) { Chunk = chunk };
            AgreesWithReference(device, name);
        }
    }

    /// <summary>Beyond its operands, results and gradients, a convolution and a product hold no more than a chunk of intermediate values.</summary>
    [Fact]
    public void IntermediateValuesFitAChunk()
    {
        using var device = new DryDevice();
        long chunk = device.ChunkLength * 4 * 5 / 4;   // sizes in the pool are rounded up by at most an eighth
        using var tape = new Tape(device);
        Holds([new Parameter(device, "few channels to many", 64, 1, 32, 32), new Parameter(device, "weight", 1024, 1, 1, 1)], p => tape.Conv2d(p[0], p[1]));
        Holds([new Parameter(device, "a large image", 1, 8, 1030, 1030), new Parameter(device, "weight", 2, 8, 5, 5)], p => tape.Conv2d(p[0], p[1]));
        Holds([new Parameter(device, "a shared factor", 512, 512), new Parameter(device, "batch", 256, 512, 8)], p => tape.MatMul(p[0], p[1]));

        void Holds(Parameter[] inputs, Func<Parameter[], Tensor> apply)
        {
            device.Pool.ResetPeak();
            long before = device.Pool.UsedBytes;
            Tensor output = apply(inputs);
            Assert.InRange(device.Pool.PeakBytes - device.Pool.UsedBytes, 0, chunk);
            tape.Backward(tape.Sum(output));

            // The result, its gradient, and those of the inputs.
            long rest = 2 * 4 * output.Length + inputs.Sum(input => 4 * input.Length);
            Assert.InRange(device.Pool.PeakBytes - before, rest, rest * 5 / 4 + chunk);
            tape.Reset();
            tape.Gradients.Release();
        }
    }

    /// <summary>The number of launches does not depend on the number of indices.</summary>
    [Fact]
    public void IndicesAreScatteredByOneLaunch()
    {
        using var inner = new CpuDevice(1);
        int launches = 0;
        using var device = new DistantDevice(inner) { Launching = () => launches++ };
        Assert.Equal(Launches(1), Launches(50));

        int Launches(int count)
        {
            using var tape = new Tape(device);
            var x = new Parameter(device, "x", 3, 4);
            launches = 0;
            Tensor gathered = tape.Gather(x, 1, [.. Enumerable.Range(0, 3 * count).Select(i => i % 4)]);
            tape.Backward(tape.Sum(tape.ScatterAdd(x, 1, [.. Enumerable.Range(0, 3 * count).Select(i => i % 3)], gathered)));
            return launches;
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void GradientsOfTwoUsesAddUp(string name)
    {
        using var device = new CpuDevice(1);
        float[]?[] once = OpCases.Run(device, OpCases.All[name]).Gradients, twice = OpCases.Run(device, OpCases.All[name], times: 2).Gradients;
        for (int k = 0; k < once.Length; k++)
            Close([.. once[k]!.Select(value => 2 * value)], twice[k]!, $"{name}, input {k}");
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void InputsThatNeedNoGradientGetNoneAndMemoryIsGivenBack(string name)
    {
        OpCases.Case test = OpCases.All[name];
        using var device = new CpuDevice(1);
        float[]?[] all = OpCases.Run(device, test).Gradients;
        for (int mask = 0; mask < 1 << all.Length; mask++)
        {
            bool[] trains = [.. Enumerable.Range(0, all.Length).Select(k => (mask >> k & 1) != 0)];
            float[]?[] some = OpCases.Run(device, test, trains).Gradients;
            for (int k = 0; k < all.Length; k++)
            {
                if (trains[k])
                    Close(all[k]!, some[k]!, $"{name}, mask {mask}, input {k}");
                else
                    Assert.Null(some[k]);
            }
        }

        Assert.Equal(0, device.Pool.UsedBytes);
    }

    internal static void AgreesWithReference(Device device, string name)
    {
        using var reference = new ReferenceDevice();
        (float[] value, float[]?[] gradients) = OpCases.Run(device, OpCases.All[name]);
        (float[] expected, float[]?[] expectedGradients) = OpCases.Run(reference, OpCases.All[name]);
        Close(expected, value, name);
        for (int k = 0; k < gradients.Length; k++)
            Close(expectedGradients[k]!, gradients[k]!, $"{name}, gradient of input {k}");
    }

    private static void Close(float[] expected, float[] actual, string what)
    {
        double largest = Math.Max(1e-2, expected.Select(value => Math.Abs((double)value)).DefaultIfEmpty(0).Max());
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
            Assert.True(Math.Abs(actual[i] - expected[i]) <= 1e-5 * largest, $"{what}[{i}]: {actual[i]} instead of {expected[i]}");
    }
}

/// <summary>Enough of the operations for every kernel that they launch, on a GPU. Stamped on each kind below.</summary>
public abstract class GpuOpTests(Device device)
{
    public static TheoryData<string> Few => [.. OpCases.All.Keys.Where((name, i) => i % 19 == 0 || name.Contains("2 groups", StringComparison.Ordinal) || name.Contains("windows of 3", StringComparison.Ordinal))];

    [Theory]
    [MemberData(nameof(Few))]
    public void AgreesWithReference(string name) => OpTests.AgreesWithReference(device, name);
}

[Collection("gpu"), Trait("device", "opencl")]
public class OpenClOpTests() : GpuOpTests(Gpu.OpenCl());

[Collection("gpu"), Trait("device", "opencl")]
public class OpenClWithKernelsOfGpusOpTests() : GpuOpTests(Gpu.OpenClWithKernelsOfGpus());

[Collection("gpu"), Trait("device", "cuda")]
public class CudaOpTests() : GpuOpTests(Gpu.Cuda());
