using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;
using ILGpuOptim.Tests.Devices;
using static ILGpuOptim.Tests.Mixtures.ExpertsProblem;

namespace ILGpuOptim.Tests.Mixtures;

/// <summary>Mixtures of experts against plain loops in double precision and their central differences. Stamped on each device below.</summary>
public abstract class ExpertsTests(Device device)
{
    /// <summary>Tokens, columns, intermediate size, experts, experts per token, whether weights are normalised.</summary>
    public static TheoryData<int, int, int, int, int, bool> Shapes => new()
    {
        { 7, 5, 6, 4, 2, true }, { 7, 5, 6, 4, 2, false },
        { 5, 3, 4, 1, 1, true }, { 5, 3, 4, 1, 1, false },
        { 6, 4, 3, 3, 3, true }, { 6, 4, 3, 3, 3, false },
        { 1, 1, 1, 2, 1, false }, { 1, 9, 5, 17, 3, true },
        { 3, 4, 5, 9, 1, true }, { 3, 4, 5, 9, 1, false },
        { 70, 3, 2, 2, 1, true },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public void ValuesAndGradientsAreThoseOfPlainLoops(int tokens, int columns, int inner, int experts, int perToken, bool normalizes)
    {
        const float Coefficient = 0.7f;
        (ExpertsLayer layer, Parameter x) = Make(tokens, columns, inner, experts, perToken, normalizes);
        Tape tape = new(device) { Seed = 3 };
        int[] mask = [.. Enumerable.Range(0, tokens).Select(i => i == 1 ? 0 : 1)];
        RouterLoss loss = new(tape, 1, experts, tokens, mask);
        Tensor y = layer.Forward(tape, x, loss);
        y.IsKept = true;
        Tensor aux = loss.Total();
        float[] weights = Weights((int)y.Length);
        tape.Backward(Objective.Of(tape, y, weights, aux, Coefficient));

        Parameter[] parameters = [x, .. layer.Parameters];
        double[][] values = [.. parameters.Select(p => p.ToArray().Select(v => (double)v).ToArray())];
        var plain = new ExpertsReference(tokens, columns, inner, experts, perToken, normalizes, mask);
        int[][] chosen = plain.Choose(values);
        double[] expected = plain.Output(values, chosen);
        Close(expected, y.ToArray(), "y");
        Close([plain.Loss(values, chosen)], aux.ToArray(), "auxiliary loss");
        double Total() => plain.Output(values, chosen).Zip(weights, (a, b) => a * b).Sum() + Coefficient * plain.Loss(values, chosen);
        for (int k = 0; k < parameters.Length; k++)
        {
            var slopes = new double[values[k].Length];
            for (int i = 0; i < slopes.Length; i++)
            {
                double at = values[k][i];
                values[k][i] = at + 1e-5;
                double above = Total();
                values[k][i] = at - 1e-5;
                slopes[i] = (above - Total()) / 2e-5;
                values[k][i] = at;
            }

            Close(slopes, GradientOf(tape, parameters[k]), $"gradient of {parameters[k].Name}");
        }

        tape.Dispose();
    }

    [Fact]
    public void ExpertsWithoutTokensGetAGradientOfZero()
    {
        (ExpertsLayer layer, Parameter x) = Make(6, 4, 5, 5, 2, normalizes: true);
        Parameter router = layer.Parameters[0];

        // Ones in x and two large rows of the router: every token goes to experts 3 and 1.
        x.Load([.. Enumerable.Repeat(1f, 24)]);
        router.Load([.. Enumerable.Range(0, 20).Select(i => i / 4 == 3 ? 2f : i / 4 == 1 ? 1f : 0f)]);
        Parameter[] parameters = [x, .. layer.Parameters];
        for (int round = 0; round < 2; round++)
        {
            Tape tape = new(device);

            // Gradient memory that was used for something else before.
            foreach (Parameter parameter in parameters)
            {
                Block used = device.Pool.Rent(parameter.Length);
                device.Fill(used, float.NaN);
                device.Pool.Return(used);
            }

            Tensor y = layer.Forward(tape, x);
            tape.Backward(Objective.Of(tape, y, Weights((int)y.Length)));
            for (int e = 0; e < 5; e++)
            {
                foreach (Parameter parameter in layer.Parameters.Where(p => p.Name.StartsWith($"moe.experts.{e}.", StringComparison.Ordinal)))
                {
                    float[] gradient = GradientOf(tape, parameter);
                    Assert.All(gradient, value => Assert.True(float.IsFinite(value) && (e is 1 or 3 || value == 0), $"{parameter.Name}: {value}"));
                    Assert.Equal(e is 1 or 3, gradient.Any(value => value != 0));
                }
            }

            tape.Dispose();
        }
    }

    [Fact]
    public void AnEmptyBatchGivesNothingAndGradientsOfZero()
    {
        (ExpertsLayer layer, Parameter x) = Make(0, 4, 5, 3, 2, normalizes: true);
        Tape tape = new(device);
        RouterLoss loss = new(tape, 1, 3, 0);
        Tensor y = layer.Forward(tape, x, loss);
        Assert.Equal(0, y.Length);
        Tensor aux = loss.Total();
        Assert.Equal(0, aux.Item());
        tape.Backward(Objective.Of(tape, y, [], aux, 1));
        Assert.All(layer.Parameters, p => Assert.All(GradientOf(tape, p), value => Assert.Equal(0, value)));
        tape.Dispose();
    }

    [Fact]
    public void TheChoiceIsByProbabilityThenByNumber()
    {
        Tape tape = new(device) { IsRecording = false };
        RouterChoice choice = tape.Route(Matrix(tape, 4, [0, 0, 0, 0, 1, 2, 2, 1, -1, 3, 5, 4, float.NaN, 1, 2, 3]), 2, normalizes: false);
        Assert.Equal(new[] { 0, 3 }, Read(choice.TokensOf(0)));
        Assert.Equal(new[] { 0, 1, 3 }, Read(choice.TokensOf(1)));
        Assert.Equal(new[] { 1, 2 }, Read(choice.TokensOf(2)));
        Assert.Equal(new[] { 2 }, Read(choice.TokensOf(3)));
        Assert.Equal(8, choice.Slots);
        float[] weights = choice.Weights.ToArray();
        Assert.Equal(0.25, weights[0], 1e-7);
        Assert.True(float.IsNaN(weights[1]));
        Assert.Equal(0.25, weights[2], 1e-7);
        tape.Reset();
    }

    [Fact]
    public void WeightsAreNormalisedByTheirSum()
    {
        Tape tape = new(device) { IsRecording = false };

        // Probabilities that differ by 40 orders of magnitude do not lose the smaller one's row to a division by zero.
        RouterChoice choice = tape.Route(Matrix(tape, 3, [1, 2, 0, 100, 0, 0]), 2, normalizes: true);
        float[] weights = choice.Weights.ToArray();
        Assert.Equal([1 / (1 + Math.E), 1, Math.E / (1 + Math.E), 0], weights.Select(w => (double)w), (a, b) => Math.Abs(a - b) <= 3e-7);
        tape.Reset();
    }

    [Fact]
    public void NothingIsKeptWithoutRecordingAndAllMemoryComesBack()
    {
        (ExpertsLayer layer, Parameter x) = Make(3, 4, 5, 9, 2, normalizes: true);
        long before = device.Pool.UsedBytes;
        Tape tape = new(device) { IsRecording = false };
        float[] y = layer.Forward(tape, x).ToArray();
        tape.Reset();
        tape.IsRecording = true;
        Tensor again = layer.Forward(tape, x);
        again.IsKept = true;
        tape.Backward(Objective.Of(tape, again, Weights(12)));
        Assert.Equal(y, again.ToArray());
        tape.Dispose();
        Assert.Equal(before, device.Pool.UsedBytes);
    }

    [Theory]
    [InlineData("gelu_pytorch_tanh", true)]
    [InlineData("gelu", false)]
    [InlineData("relu", false)]
    public void OneExpertThatAlwaysCountsFullyIsADenseLayer(string activation, bool isGated)
    {
        FeedForwardDescription description = Describe(6, 1, 1, normalizes: true) with { Activation = activation };
        if (!isGated)
            description = description with { Gate = null };
        var layer = new ExpertsLayer(new Initializer(device, seed: 11), 5, description);
        var x = new Parameter(device, "x", 7, 5);
        device.Random(x.Data, RandomKind.Normal, 1, seed: 12, stream: 0);
        Parameter[] parameters = [x, .. layer.Parameters.Skip(1)];
        Activation function = ActivationNames.Find(activation)!;
        float[][] Run(Func<Tape, Tensor> forward)
        {
            Tape tape = new(device);
            Tensor y = forward(tape);
            y.IsKept = true;
            tape.Backward(Objective.Of(tape, y, Weights(35)));
            float[][] result = [y.ToArray(), .. parameters.Select(parameter => GradientOf(tape, parameter))];
            tape.Reset();
            tape.Gradients.Release();
            return result;
        }

        float[][] actual = Run(tape => layer.Forward(tape, x)), expected = Run(tape =>
        {
            Tensor hidden = isGated
                ? tape.GatedProduct(x, parameters[1], parameters[2], null, null, function)
                : tape.LinearActivation(x, parameters[1], null, function, transposed: true);
            return tape.Linear(hidden, parameters[^1], null, transposed: true);
        });
        for (int k = 0; k < actual.Length; k++)
            Close([.. expected[k].Select(value => (double)value)], actual[k], k == 0 ? "y" : parameters[k - 1].Name);
    }

    [Fact]
    public void PassesAddUpAndTakeNoMoreMemoryHoweverTokensSpread()
    {
        (ExpertsLayer layer, Parameter x) = Make(40, 8, 16, 4, 2, normalizes: false);
        Tape tape = new(device);
        void Pass()
        {
            Tensor y = layer.Forward(tape, x);
            tape.Backward(Objective.Of(tape, y, Weights(320)));
            tape.Reset();
        }

        Pass();
        Parameter[] parameters = [x, .. layer.Parameters];
        float[][] once = [.. parameters.Select(parameter => GradientOf(tape, parameter))];
        Pass();
        for (int k = 0; k < parameters.Length; k++)
            Close([.. once[k].Select(value => 2.0 * value)], GradientOf(tape, parameters[k]), parameters[k].Name);

        // All to two experts, then every second, third, … token elsewhere.
        void Spread()
        {
            for (int round = 0; round < 6; round++)
            {
                x.Load([.. Enumerable.Range(0, 320).Select(i => round == 0 ? 1f : i / 8 % (round + 1) == 0 ? -1f : 1f)]);
                Pass();
            }
        }

        // How much a GPU needs beside a product's matrices depends on the product's size.
        if (device is GpuDevice)
            Spread();
        (long, long) before = (device.Pool.Allocations, device.Pool.ReservedBytes);
        Spread();
        Assert.Equal(before, (device.Pool.Allocations, device.Pool.ReservedBytes));
        tape.Gradients.Release();
    }

    [Theory]
    [InlineData(ParameterStorage.BF16, 1e-2)]
    [InlineData(ParameterStorage.Int8, 5e-2)]
    public void WeightsMayBeStoredInFewerBits(ParameterStorage storage, double bound)
    {
        float[] Run(ParameterStorage stored, float[][]? values, out float[][] weights)
        {
            var layer = new ExpertsLayer(new Initializer(device, seed: 11) { Storage = stored }, 5, Describe(6, 4, 2, normalizes: true));
            for (int k = 0; k < layer.Parameters.Count && values is not null; k++)
                layer.Parameters[k].Load(values[k]);
            weights = [.. layer.Parameters.Select(parameter => parameter.ToArray())];
            var x = new Parameter(device, "x", 7, 5);
            device.Random(x.Data, RandomKind.Normal, 1, seed: 12, stream: 0);
            Tape tape = new(device);
            Tensor y = layer.Forward(tape, x);
            y.IsKept = true;
            tape.Backward(Objective.Of(tape, y, Weights(35)));
            float[] result = [.. y.ToArray(), .. GradientOf(tape, x), .. layer.Parameters.SelectMany(parameter => GradientOf(tape, parameter))];
            tape.Reset();
            tape.Gradients.Release();
            return result;
        }

        // The same numbers as f32 with the weights as they are stored; near those of the weights before.
        float[] narrow = Run(storage, null, out float[][] weights), wide = Run(ParameterStorage.F32, weights, out _), exact = Run(ParameterStorage.F32, null, out _);
        Close([.. wide.Select(value => (double)value)], narrow, $"{storage}");
        Assert.All(narrow.Zip(exact).Take(35), pair => Assert.InRange(Math.Abs(pair.First - pair.Second), 0, bound * exact.Max(Math.Abs)));
        Assert.NotEqual(exact, narrow);
    }

    [Fact]
    public void FrozenPartsGetNoGradient()
    {
        (ExpertsLayer layer, Parameter x) = Make(7, 5, 6, 4, 2, normalizes: true);
        Parameter[] parameters = [x, .. layer.Parameters];
        float[][] Run(Predicate<Parameter> isFrozen)
        {
            foreach (Parameter parameter in parameters)
                parameter.IsFrozen = isFrozen(parameter);
            Tape tape = new(device);
            Tensor y = layer.Forward(tape, x);
            tape.Backward(Objective.Of(tape, y, Weights(35)));
            float[][] result = [.. parameters.Select(parameter => tape.Gradients.Has(parameter) ? GradientOf(tape, parameter) : [])];
            tape.Reset();
            tape.Gradients.Release();
            return result;
        }

        float[][] all = Run(_ => false);
        foreach (string part in (string[])["x", "moe.gate.weight", "w1.weight", "w2.weight", "moe"])
        {
            bool Frozen(Parameter parameter) => parameter.Name.EndsWith(part, StringComparison.Ordinal) || (part == "moe" && parameter != x);
            float[][] some = Run(Frozen);
            for (int k = 0; k < parameters.Length; k++)
                Assert.Equal(Frozen(parameters[k]) ? [] : all[k], some[k]);
        }
    }

    [Fact]
    public void MistakesAreErrors()
    {
        FeedForwardDescription good = Describe(4, 3, 2, normalizes: true);
        ExpertsLayer Layer(FeedForwardDescription description) => new(new Initializer(device, seed: 1), 5, description);
        Assert.Contains("1 to 3 experts, not 4", Assert.Throws<ArgumentException>(() => Layer(Describe(4, 3, 4, normalizes: true))).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => Layer(good with { Experts = null }));
        Assert.Throws<ArgumentException>(() => Layer(good with { IsPacked = true }));
        Assert.Contains("without biases", Assert.Throws<ArgumentException>(() => Layer(good with { Up = good.Up with { HasBias = true } })).Message, StringComparison.Ordinal);
        Assert.Contains("\"nothing\"", Assert.Throws<ArgumentException>(() => Layer(good with { Activation = "nothing" })).Message, StringComparison.Ordinal);
        Tape tape = new(device) { IsRecording = false };
        RouterChoice choice = tape.Route(Matrix(tape, 3, [1, 2, 3, 4, 5, 6]), 2, normalizes: true);
        Tensor three = Matrix(tape, 2, [1, 2, 3, 4, 5, 6]), four = Matrix(tape, 2, new float[8]), weight = Matrix(tape, 3, new float[6]);
        Assert.Contains("2 tokens; x is 3×2", Assert.Throws<ArgumentException>(() => tape.ToExperts(choice, three)).Message, StringComparison.Ordinal);
        Assert.Contains("4 slots; x is 3×2", Assert.Throws<ArgumentException>(() => tape.FromExperts(choice, three)).Message, StringComparison.Ordinal);
        Assert.Contains("2 weights of 3 experts", Assert.Throws<ArgumentException>(() => tape.ExpertLinear(choice, four, [[weight, weight]])).Message, StringComparison.Ordinal);
        Assert.Contains("the weight is 2×3, but x is 4×2", Assert.Throws<ArgumentException>(() => tape.ExpertLinear(choice, four, [[weight, weight, weight]])).Message, StringComparison.Ordinal);
        tape.Reset();
    }

    [Fact]
    public void JitterMultipliesByNoiseWhileTraining()
    {
        const int Length = 5000;
        var x = new Parameter(device, "x", 50, 100);
        x.Load([.. Enumerable.Range(0, Length).Select(i => i % 2 == 0 ? 1f : -2f)]);
        Tape tape = new(device) { Seed = 5, RandomStream = 8 };
        tape.IsTraining = false;
        Assert.Same(x, tape.Jitter(x, 0.25f));
        tape.IsTraining = true;
        Assert.Same(x, tape.Jitter(x, 0));
        Assert.Equal(8ul, tape.RandomStream);
        Tensor y = tape.Jitter(x, 0.25f);
        Assert.Equal(9ul, tape.RandomStream);
        double[] noise = [.. y.ToArray().Select((value, i) => value / (i % 2 == 0 ? 1.0 : -2.0))];
        Assert.All(noise, u => Assert.InRange(u, 0.75, 1.25));
        Assert.InRange(noise.Min(), 0.75, 0.751);
        Assert.InRange(noise.Max(), 1.249, 1.25);
        Assert.Equal(1, noise.Average(), 0.01);
        float[] weights = Weights(Length);
        tape.Backward(Objective.Of(tape, y, weights));
        Close([.. noise.Zip(weights, (u, w) => u * w)], GradientOf(tape, x), "gradient of jitter");
        tape.Dispose();
    }

    /// <summary>A layer with weights of Mixtral's names, and its input.</summary>
    private (ExpertsLayer Layer, Parameter X) Make(int tokens, int columns, int inner, int experts, int perToken, bool normalizes)
    {
        var layer = new ExpertsLayer(new Initializer(device, seed: 11), columns, Describe(inner, experts, perToken, normalizes));
        var x = new Parameter(device, "x", tokens, columns);
        device.Random(x.Data, RandomKind.Normal, 1, seed: 12, stream: 0);
        return (layer, x);
    }

    private static Tensor Matrix(Tape tape, int columns, float[] values)
    {
        Tensor result = tape.Output([values.Length / columns, columns]);
        tape.Device.Upload(values, result.Data);
        return result;
    }

    private int[] Read(Block indices)
    {
        var result = new int[indices.Length];
        device.Download(indices, result);
        return result;
    }
}

public class CpuExpertsTests() : ExpertsTests(new CpuDevice(2))
{
    [Fact]
    public void BitsDoNotDependOnThreads()
    {
        float[][] Run(int threads)
        {
            using var device = new CpuDevice(threads);
            var layer = new ExpertsLayer(new Initializer(device, seed: 1), 37, Describe(29, 8, 3, normalizes: true));
            var x = new Parameter(device, "x", 203, 37);
            device.Random(x.Data, RandomKind.Normal, 1, seed: 2, stream: 0);
            Tape tape = new(device);
            RouterLoss loss = new(tape, 1, 8, 203);
            Tensor y = layer.Forward(tape, x, loss);
            y.IsKept = true;
            tape.Backward(Objective.Of(tape, y, Weights(203 * 37), loss.Total(), 0.1f));
            return [y.ToArray(), .. ((Parameter[])[x, .. layer.Parameters]).Select(parameter => GradientOf(tape, parameter))];
        }

        float[][] one = Run(1);
        Assert.Equal(one, Run(2));
        Assert.Equal(one, Run(3));
        Assert.Equal(one, Run(2));
    }
}

public class ReferenceExpertsTests() : ExpertsTests(new ReferenceDevice());

[Collection("gpu"), Trait("device", "opencl")]
public class OpenClExpertsTests() : ExpertsTests(Gpu.OpenCl());

[Collection("gpu"), Trait("device", "cuda")]
public class CudaExpertsTests() : ExpertsTests(Gpu.Cuda());
