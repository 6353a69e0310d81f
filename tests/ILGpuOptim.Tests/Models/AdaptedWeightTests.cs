using System.Text.Json;
using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Models;

/// <summary>Adapted weights and their gradients against PyTorch's (Goldens/lora/make.py) and central differences.</summary>
public sealed class AdaptedWeightTests : IDisposable
{
    private readonly CpuDevice device = new(2);

    public void Dispose() => device.Dispose();

    public static TheoryData<int, bool> Cases => new MatrixTheoryData<int, bool>([0, 1, 2, 3], [true, false]);

    [Theory]
    [MemberData(nameof(Cases))]
    public void ProductsAndGradientsAgreeWithPyTorch(int index, bool transposed)
    {
        JsonElement golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(Goldens.Folder("lora"), "adapted-weights.json"))).RootElement[index];
        int inputs = golden.GetProperty("inputs").GetInt32(), outputs = golden.GetProperty("outputs").GetInt32();
        var options = new LoraOptions
        {
            Rank = golden.GetProperty("rank").GetInt32(),
            Alpha = golden.GetProperty("alpha").GetDouble(),
            Rslora = golden.GetProperty("rslora").GetBoolean(),
            Dora = golden.GetProperty("dora").GetBoolean(),
        };
        var linear = new Linear(new Initializer(device, 1), new ProjectionDescription("w") { InputsFirst = !transposed }, inputs, outputs);
        float[] weight = Numbers("w");
        linear.Weight.Load(transposed ? weight : Transposed(weight, outputs, inputs));
        linear.Weight.IsFrozen = true;
        var adapter = new LoraAdapter(new Initializer(device, 1), linear, options);
        if (options.Dora)
            Close([.. weight.Chunk(inputs).Select(row => MathF.Sqrt(row.Sum(value => value * value)))], adapter.Magnitude!.ToArray());
        adapter.A.Load(Numbers("a"));
        adapter.B.Load(Numbers("b"));
        adapter.Magnitude?.Load(Numbers("m"));

        using var tape = new Tape(device);
        Tensor x = tape.Constant(Numbers("x"), Numbers("x").Length / inputs, inputs);
        Tensor y = tape.Linear(x, adapter.WeightFor(tape), null, transposed: transposed);
        y.IsKept = true;
        tape.Backward((y * tape.Constant(Numbers("upstream"), y.Shape[0], outputs)).Sum());
        Close(Numbers("y"), y.ToArray());
        Close(Numbers("grad_a"), Gradient(tape, adapter.A));
        Close(Numbers("grad_b"), Gradient(tape, adapter.B));
        if (adapter.Magnitude is { } magnitude)
            Close(Numbers("grad_m"), Gradient(tape, magnitude));

        float[] Numbers(string name) => [.. golden.GetProperty(name).EnumerateArray().Select(value => value.GetSingle())];
    }

    /// <summary>The norms are constants in the backward pass, so the differences are those of m V / |V₀|.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void GradientsOfDirectionsAreThoseOfConstantNorms(bool transposed)
    {
        const int Rows = 4, Columns = 7;
        int outputs = transposed ? Rows : Columns;
        using var direction = new ParameterOf(device, [Rows, Columns], 3);
        using var magnitude = new ParameterOf(device, [outputs], 4);
        float[] v = direction.Values, m = magnitude.Values, g = [.. Enumerable.Range(0, Rows * Columns).Select(i => MathF.Sin(i + 1))];

        // One output vector of zeros.
        for (int i = 0; i < v.Length; i++)
            v[i] = OutputOf(i) == 2 ? 0 : v[i];
        direction.Parameter.Load(v);
        double[] norms = new double[outputs];
        for (int i = 0; i < v.Length; i++)
            norms[OutputOf(i)] += (double)v[i] * v[i];
        double Loss() => v.Select((value, i) => norms[OutputOf(i)] == 0 ? 0 : g[i] * (double)m[OutputOf(i)] * value / Math.Sqrt(norms[OutputOf(i)])).Sum();

        using var tape = new Tape(device);
        Tensor weight = tape.ScaledDirections(direction.Parameter, magnitude.Parameter, transposed);
        tape.Backward((weight * tape.Constant(g, Rows, Columns)).Sum());
        Close(Differences(v, Loss), Gradient(tape, direction.Parameter));
        Close(Differences(m, Loss), Gradient(tape, magnitude.Parameter));

        int OutputOf(int i) => transposed ? i / Columns : i % Columns;
    }

    private float[] Gradient(Tape tape, Parameter parameter)
    {
        var result = new float[parameter.Length];
        device.Download(tape.Gradients[parameter], result);
        return result;
    }

    private static float[] Differences(float[] values, Func<double> loss)
    {
        var result = new float[values.Length];
        for (int i = 0; i < values.Length; i++)
        {
            float value = values[i];
            (values[i], float high) = (value + 0.25f, value + 0.25f);
            double above = loss();
            (values[i], float low) = (value - 0.25f, value - 0.25f);
            result[i] = (float)((above - loss()) / (high - low));
            values[i] = value;
        }

        return result;
    }

    private static float[] Transposed(float[] values, int rows, int columns) =>
        [.. Enumerable.Range(0, values.Length).Select(i => values[i % rows * columns + i / rows])];

    private static void Close(float[] expected, float[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        float largest = expected.Max(MathF.Abs);
        Assert.All(expected.Zip(actual), pair => Assert.True(MathF.Abs(pair.First - pair.Second) <= 2e-6f * largest, $"{pair}"));
    }

    private sealed class ParameterOf(Device device, int[] shape, ulong seed) : IDisposable
    {
        public Parameter Parameter { get; } = Make(device, shape, seed);

        public float[] Values => field ??= Parameter.ToArray();

        public void Dispose() => Parameter.Release();

        private static Parameter Make(Device device, int[] shape, ulong seed)
        {
            var result = new Parameter(device, "p", shape);
            new Initializer(device, seed).Fill(result, 1, 0);
            return result;
        }
    }
}
