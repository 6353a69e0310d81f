using ILGpuOptim.Compute;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Autograd;

/// <summary>
/// Every operation by central differences in double precision on the reference device, and by agreement of the CPU
/// device's gradients with the reference device's.
/// </summary>
public class GradientTests
{
    /// <summary>A scalar made from inputs, for differentiation.</summary>
    private sealed record Case(int[][] Shapes, Func<Tape, Parameter[], Tensor> Output);

    private static readonly Dictionary<string, Case> Table = new()
    {
        ["embedding"] = new([[5, 3], [4, 3]], (tape, p) => tape.Embedding(p[0], tape.Indices([4, 1, 1, 0]), tape.Add(p[1], p[1]))),
        ["layer norm"] = new([[3, 7], [7], [7]], (tape, p) => tape.LayerNorm(p[0], p[1], p[2], 1e-5f)),
        ["layer norm of groups, without bias"] = new([[3, 6], [3]], (tape, p) => tape.LayerNorm(p[0], p[1], null, 1e-5f)),
        ["layer norm of one column"] = new([[3, 1], [1], [1]], (tape, p) => tape.LayerNorm(p[0], p[1], p[2], 1e-5f)),
        ["linear"] = new([[3, 5], [5, 7]], (tape, p) => tape.Linear(p[0], p[1], null)),
        ["linear with bias"] = new([[3, 5], [5, 7], [7]], (tape, p) => tape.Linear(p[0], p[1], p[2])),
        ["linear with residual"] = new([[3, 5], [5, 7], [3, 7]], (tape, p) => tape.Linear(p[0], p[1], null, p[2])),
        ["linear with bias and residual, transposed"] = new([[3, 5], [7, 5], [7], [3, 7]], (tape, p) => tape.Linear(p[0], p[1], p[2], p[3], transposed: true)),
        ["residual of an activation"] = new([[3, 5], [5, 5]], (tape, p) =>
        {
            Tensor x = tape.Add(p[0], p[0]);
            return tape.Linear(x, p[1], null, x);
        }),
        ["tanh GELU"] = new([[3, 5], [5, 7], [7]], (tape, p) => tape.LinearActivation(p[0], p[1], p[2], Activation.GeluTanh)),
        ["erf GELU"] = new([[3, 5], [7, 5], [7]], (tape, p) => tape.LinearActivation(p[0], p[1], p[2], Activation.GeluErf, transposed: true)),
        ["quick GELU"] = new([[3, 5], [5, 7], [7]], (tape, p) => tape.LinearActivation(p[0], p[1], p[2], Activation.QuickGelu)),
        ["ReLU"] = new([[3, 5], [5, 7], [7]], (tape, p) => tape.LinearActivation(p[0], p[1], p[2], Activation.Relu)),
        ["SiLU"] = new([[3, 5], [5, 7], [7]], (tape, p) => tape.LinearActivation(p[0], p[1], p[2], Activation.Silu)),
        ["attention with a scale of its own"] = new([[6, 18]], (tape, p) => tape.SelfAttention(p[0], 2, new AttentionSettings { Heads = 2, Causal = true, Scale = 0.25f })),
        ["causal attention"] = new([[6, 18]], (tape, p) => tape.SelfAttention(p[0], 2, new AttentionSettings { Heads = 2, Causal = true })),
        ["attention with key bias"] = new([[6, 9]], (tape, p) => tape.SelfAttention(p[0], 2, new AttentionSettings { Heads = 1, KeyBias = tape.Values([0, -1, 2, 0, 0, -50]) })),
        ["attention with dropout"] = new([[5, 12]], (tape, p) => tape.SelfAttention(p[0], 1, new AttentionSettings { Heads = 2, Causal = true, Dropout = 0.4f })),
        ["grouped-query attention"] = new([[6, 24]], (tape, p) => tape.SelfAttention(p[0], 2, new AttentionSettings { Heads = 4, Causal = true, KeyHeads = 1 })),
        ["rotated attention"] = new([[5, 32]], (tape, p) => tape.SelfAttention(tape.Add(p[0], p[0]), 1, new AttentionSettings { Heads = 4, Causal = true, KeyHeads = 2, Angles = Angles(tape, 5, 4) })),
        ["rotated attention of a parameter"] = new([[5, 32]], (tape, p) => tape.SelfAttention(p[0], 1, Rotated(tape))),
        ["rotated attention of a tensor that was read before"] = new([[5, 32]], (tape, p) =>
        {
            Tensor x = tape.Add(p[0], p[0]), before = tape.Square(x);
            return tape.Concat([before, tape.SelfAttention(x, 1, Rotated(tape))], 1);
        }),
        ["rotated attention of a tensor that is read afterwards"] = new([[5, 32]], (tape, p) =>
        {
            Tensor x = tape.Add(p[0], p[0]), attention = tape.SelfAttention(x, 1, Rotated(tape));
            return tape.Concat([attention, tape.Square(x)], 1);
        }),
        ["two rotated attentions of one tensor"] = new([[5, 24]], (tape, p) =>
        {
            Tensor x = tape.Add(p[0], p[0]);
            AttentionSettings settings = new() { Heads = 2, Angles = Angles(tape, 5, 4) };
            return tape.Add(tape.SelfAttention(x, 1, settings), tape.SelfAttention(x, 1, settings with { Angles = Angles(tape, 5, 2), RotatedSize = 2, Order = PackedOrder.Heads }));
        }),
        ["a recomputed rotated attention"] = new([[5, 32]], (tape, p) => tape.Recompute(p[0], x => tape.SelfAttention(x, 1, Rotated(tape)))),
        ["a recomputed rotated attention of a result"] = new([[5, 32]], (tape, p) => tape.Recompute(tape.Add(p[0], p[0]), x => tape.SelfAttention(x, 1, Rotated(tape)))),
        ["attention of a window with a soft-cap"] = new([[14, 12]], (tape, p) => tape.SelfAttention(p[0], 2, new AttentionSettings { Heads = 2, Causal = true, KeysBefore = 2, SoftCap = 0.7f })),
        ["attention within documents, both ways"] = new([[6, 12]], (tape, p) => tape.SelfAttention(p[0], 2, new AttentionSettings { Heads = 2, KeysBefore = 1, KeysAfter = 1, Ranges = tape.Indices([0, 1, 1, 3, 1, 3, 0, 2, 0, 2, 2, 3]) })),
        ["attention with biases by distance"] = new([[6, 18], [5, 2]], (tape, p) => tape.SelfAttention(p[0], 2, new AttentionSettings { Heads = 2, DistanceBias = p[1], Scale = 1 })),
        ["attention packed head by head, a part of it rotated"] = new([[6, 36]], (tape, p) => tape.SelfAttention(tape.Add(p[0], p[0]), 2, new AttentionSettings { Heads = 2, Causal = true, Angles = Angles(tape, 6, 4), RotatedSize = 4, Order = PackedOrder.Heads })),
        ["cross-attention"] = new([[4, 12], [6, 6], [6, 6], [4, 4]], (tape, p) => tape.Attention(p[0], p[1], p[2], 2, new AttentionSettings { Heads = 4, KeyHeads = 2, DistanceBias = p[3], SoftCap = 2, KeyBias = tape.Values([0, -1, 2, 0, 0, -50]) })),
        ["rotated attention of separate projections"] = new([[5, 8], [5, 4], [5, 4]], (tape, p) => tape.Attention(p[0], p[1], p[2], 1, new AttentionSettings { Heads = 2, KeyHeads = 1, Causal = true, Angles = Angles(tape, 5, 4) })),
        ["attention of one tensor to itself, with dropout"] = new([[5, 8]], (tape, p) => tape.Attention(p[0], p[0], p[0], 1, new AttentionSettings { Heads = 2, Angles = Angles(tape, 5, 2), RotatedSize = 2, Dropout = 0.2f })),
        ["rotation"] = new([[5, 12]], (tape, p) => tape.Rotate(p[0], 2, Angles(tape, 5, 6))),
        ["RMS norm"] = new([[3, 7], [7]], (tape, p) => tape.RmsNorm(p[0], p[1], 1e-5f)),
        ["RMS norm of groups by 1 + weight"] = new([[3, 6], [3]], (tape, p) => tape.RmsNorm(p[0], p[1], 1e-5f, addsOne: true)),
        ["RMS norm in a residual"] = new([[3, 33], [33]], (tape, p) =>
        {
            Tensor x = tape.Add(p[0], p[0]);
            return tape.Add(tape.RmsNorm(x, p[1], 1e-6f), x);
        }),
        ["packed products"] = new([[3, 5], [4, 5], [2, 5], [1, 5]], (tape, p) => tape.LinearPacked(p[0], [p[1], p[2], p[3]])),
        ["packed products with biases"] = new([[3, 5], [4, 5], [2, 5], [4], [2]], (tape, p) => tape.LinearPacked(p[0], [p[1], p[2]], [p[3], p[4]])),
        ["SwiGLU"] = new([[3, 5], [7, 5], [7, 5]], (tape, p) => tape.GatedProduct(p[0], p[1], p[2], null, null, Activation.Silu)),
        ["SwiGLU with biases"] = new([[3, 5], [7, 5], [7, 5], [7], [7]], (tape, p) => tape.GatedProduct(p[0], p[1], p[2], p[3], p[4], Activation.Silu)),
        ["GeGLU with one bias"] = new([[3, 5], [7, 5], [7, 5], [7]], (tape, p) => tape.GatedProduct(p[0], p[1], p[2], p[3], null, Activation.GeluErf)),
        ["gated by mish, the other bias"] = new([[3, 5], [7, 5], [7, 5], [7]], (tape, p) => tape.GatedProduct(p[0], p[1], p[2], null, p[3], Activation.Mish)),
        ["SiLU without bias"] = new([[3, 5], [5, 7]], (tape, p) => tape.LinearActivation(p[0], p[1], null, Activation.Silu)),
        ["packed gate"] = new([[3, 10]], (tape, p) => tape.Gated(p[0], Activation.GeluTanh)),
        ["packed gate in a residual"] = new([[5, 6]], (tape, p) =>
        {
            Tensor x = tape.Add(p[0], p[0]);
            return tape.Add(tape.Gated(x, Activation.Silu), tape.Gated(x, Activation.Softplus));
        }),
        ["activation alone"] = new([[3, 5]], (tape, p) => tape.Activate(tape.Activate(p[0], Activation.Elu), Activation.GeluTanh)),
        ["an adapted weight"] = new([[4, 5], [7, 5], [2, 5], [7, 2]], (tape, p) => tape.Linear(p[0], tape.LowRankSum(p[1], p[2], p[3], 1.5f, transposed: true), null, transposed: true)),
        ["an adapted weight, inputs first"] = new([[4, 5], [5, 7], [3, 5], [7, 3]], (tape, p) => tape.Linear(p[0], tape.LowRankSum(p[1], p[2], p[3], -0.5f, transposed: false), null)),
        ["dropout"] = new([[4, 5]], (tape, p) => tape.Dropout(p[0], 0.3f)),
        ["sum"] = new([[4, 5], [4, 5]], (tape, p) => tape.Add(p[0], p[1])),
        ["cross-entropy"] = new([[4, 3], [7, 3]], (tape, p) => tape.CrossEntropy(p[0], p[1], null, [1, -1, 6, 0])),
        ["cross-entropy with bias, computed again"] = new([[4, 3], [7, 3], [7]], (tape, p) => tape.CrossEntropy(p[0], p[1], p[2], [1, 2, -1, 2], scale: 0.5f, mostKept: 0)),
        ["cross-entropy with a soft cap"] = new([[4, 3], [7, 3], [7]], (tape, p) => tape.CrossEntropy(p[0], p[1], p[2], [1, -1, 6, 0], softCap: 0.9f)),
        ["cross-entropy with a soft cap, computed again"] = new([[4, 3], [7, 3]], (tape, p) => tape.CrossEntropy(p[0], p[1], null, [1, 2, -1, 2], softCap: 0.5f, mostKept: 0)),
        ["cross-entropy times a number"] = new([[4, 3], [7, 3], [7]], (tape, p) => tape.Affine(tape.CrossEntropy(p[0], p[1], p[2], [1, -1, 6, 0]), -2.5f, 1)),
        ["cross-entropy times a number, computed again"] = new([[4, 3], [7, 3], [7]], (tape, p) => tape.Affine(tape.CrossEntropy(p[0], p[1], p[2], [1, -1, 6, 0], mostKept: 0), 0.3f)),
        ["losses of tokens"] = new([[4, 3], [7, 3], [7]], (tape, p) => tape.TokenLosses(p[0], p[1], p[2], [1, -1, 6, 0], softCap: 0.9f, logitScale: 0.7f)),
        ["losses of tokens, summed up"] = new([[4, 3], [7, 3]], (tape, p) => tape.IndexAdd(tape.Zeros(3), 0, [2, 0, 0, 2], tape.TokenLosses(p[0], p[1], null, [1, 2, -1, 2]))),
        ["cross-entropy with smoothing"] = new([[4, 3], [7, 3]], (tape, p) => tape.CrossEntropy(p[0], p[1], null, [1, -1, 6, 0], labelSmoothing: 0.3f)),
        ["cross-entropy with everything"] = new([[2, 2, 3], [7, 3], [7]], (tape, p) =>
            tape.CrossEntropy(p[0], p[1], p[2], [1, -1, 6, 0], scale: 2, softCap: 1.5f, labelSmoothing: 0.2f, logitScale: 0.7f)),
        ["cross-entropy with everything, computed again"] = new([[2, 2, 3], [7, 3], [7]], (tape, p) =>
            tape.CrossEntropy(p[0], p[1], p[2], [1, -1, 6, 0], scale: 2, softCap: 1.5f, mostKept: 0, labelSmoothing: 0.2f, logitScale: 0.7f)),
        ["linear of three axes"] = new([[2, 3, 5], [4, 5], [4], [2, 3, 4]], (tape, p) => tape.Linear(p[0], p[1], p[2], p[3], transposed: true)),
        ["packed products of three axes"] = new([[2, 3, 5], [4, 5], [2, 5]], (tape, p) => tape.LinearPacked(p[0], [p[1], p[2]])),
        ["layer norm of three axes"] = new([[2, 3, 5], [5], [5]], (tape, p) => tape.LayerNorm(p[0], p[1], p[2], 1e-5f)),
        ["RMS norm of three axes"] = new([[2, 3, 5], [5]], (tape, p) => tape.RmsNorm(p[0], p[1], 1e-5f, addsOne: true)),
        ["dropout of three axes"] = new([[2, 3, 5]], (tape, p) => tape.Dropout(p[0], 0.5f)),
        ["embedding of three axes"] = new([[5, 3], [2, 2, 3]], (tape, p) => tape.Embedding(p[0], tape.Indices([4, 1, 1, 0]), p[1])),
        ["a recomputed block"] = new([[3, 5], [5, 5], [5]], (tape, p) => tape.Recompute(tape.Add(p[0], p[0]), x => tape.Add(tape.LayerNorm(tape.Linear(x, p[1], p[2]), p[2], null, 1e-5f), x))),
        ["a tied head"] = new([[7, 3]], (tape, p) => tape.CrossEntropy(tape.Embedding(p[0], tape.Indices([1, 1, 5])), p[0], null, [2, 0, 1])),
    };

    public static TheoryData<string> Names => [.. Table.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void AgreesWithCentralDifferences(string name)
    {
        using var device = new ReferenceDevice();
        Case test = Table[name];
        Parameter[] inputs = Inputs(device, test);
        Tape tape = NewTape(device);
        tape.Backward(Scalar(tape, test.Output(tape, inputs)));
        foreach (Parameter input in inputs)
        {
            Block gradient = tape.Gradients[input];
            double largest = Enumerable.Range(0, (int)input.Length).Max(i => Math.Abs(device[gradient, i]));
            for (int i = 0; i < input.Length; i++)
            {
                double value = device[input.Data, i];
                double Loss(double at)
                {
                    device[input.Data, i] = at;
                    Tape fresh = NewTape(device);
                    fresh.IsRecording = false;
                    Tensor scalar = Scalar(fresh, test.Output(fresh, inputs));
                    double loss = device[scalar.Data, 0];
                    fresh.Reset();
                    return loss;
                }

                const double Step = 1e-5;
                double expected = (Loss(value + Step) - Loss(value - Step)) / (2 * Step);
                device[input.Data, i] = value;
                Assert.True(Math.Abs(device[gradient, i] - expected) <= 1e-6 * Math.Max(1e-2, largest), $"{name}, {input.Name}[{i}]: {device[gradient, i]} instead of {expected}");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void CpuAgreesWithReference(string name)
    {
        Case test = Table[name];
        using var cpu = new CpuDevice(2);
        using var reference = new ReferenceDevice();
        foreach ((float[] actual, float[] expected) in Gradients(cpu, test).Zip(Gradients(reference, test)))
        {
            double largest = expected.Max(value => Math.Abs((double)value));
            for (int i = 0; i < actual.Length; i++)
                Assert.True(Math.Abs(actual[i] - expected[i]) <= 1e-5 * Math.Max(largest, 1e-3), $"{name}[{i}]: {actual[i]} instead of {expected[i]}");
        }
    }

    /// <summary>
    /// With activations in bf16, each result and each gradient of one is rounded by half a unit of 2⁻⁸ at most. Attention rounds the most: its four
    /// operands and results and their gradients; softmax and norms pass errors on up to about threefold.
    /// </summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void InBf16AgreesWithinItsRoundoff(string name)
    {
        const double Bound = 12 / 256.0;
        Case test = Table[name];
        using var cpu = new CpuDevice(2);
        using var reference = new ReferenceDevice();
        float[][] exact = [.. Gradients(reference, test)], oracle = [.. Gradients(reference, test, Precision.BF16)];
        foreach ((float[] actual, int k) in Gradients(cpu, test, Precision.BF16).Select((gradient, k) => (gradient, k)))
        {
            double largest = Math.Max(exact[k].Max(value => Math.Abs((double)value)), 1e-3), error = 0, others = 0;
            for (int i = 0; i < actual.Length; i++)
            {
                error = Math.Max(error, Math.Abs(actual[i] - exact[k][i]) / largest);
                others = Math.Max(others, Math.Abs(oracle[k][i] - exact[k][i]) / largest);
            }

            Assert.True(error <= Bound && others <= Bound, $"{name}, input {k}: errors of {error} on the CPU and {others} on the reference device");
        }
    }

    [Fact]
    public void GradientsOfTwoPassesAddUp()
    {
        using var device = new CpuDevice(1);
        foreach ((string name, Case test) in Table.Where(row => !row.Key.Contains("dropout", StringComparison.Ordinal)))
        {
            Parameter[] inputs = Inputs(device, test);
            Tape tape = NewTape(device);
            tape.Backward(Scalar(tape, test.Output(tape, inputs)));
            float[][] once = [.. inputs.Select(input => GradientOf(tape, input))];
            tape.Reset();
            tape.Backward(Scalar(tape, test.Output(tape, inputs)));
            foreach ((float[] first, Parameter input) in once.Zip(inputs))
                Assert.All(GradientOf(tape, input).Zip(first), pair => Assert.True(Math.Abs(pair.First - 2 * pair.Second) <= 1e-6 * Math.Max(1, Math.Abs(pair.Second)), name));
            tape.Reset();
        }
    }

    [Fact]
    public void AParameterIsReadyOnceAndOnlyWhenComplete()
    {
        using var device = new CpuDevice(1);
        Case test = Table["a tied head"];
        Parameter[] inputs = Inputs(device, test);
        Tape tape = NewTape(device);
        var ready = new List<float[]>();
        tape.GradientReady = parameter => ready.Add(GradientOf(tape, parameter));
        tape.Backward(Scalar(tape, test.Output(tape, inputs)));
        Assert.Equal(GradientOf(tape, inputs[0]), Assert.Single(ready));
    }

    [Fact]
    public void NothingIsRecordedWithoutNeedAndEverythingIsGivenBack()
    {
        using var device = new CpuDevice(1);
        Case test = Table["linear with bias"];
        Parameter[] inputs = Inputs(device, test);
        long before = device.Pool.UsedBytes;
        Tape tape = NewTape(device);
        tape.IsRecording = false;
        Assert.False(test.Output(tape, inputs).RequiresGradient);
        tape.Reset();
        tape.IsRecording = true;
        inputs[1].IsFrozen = true;
        tape.Backward(Scalar(tape, test.Output(tape, inputs)));
        Assert.False(tape.Gradients.Has(inputs[1]));
        Assert.True(tape.Gradients.Has(inputs[0]));
        tape.Dispose();
        Assert.Equal(before, device.Pool.UsedBytes);
    }

    private static AttentionSettings Rotated(Tape tape) => new() { Heads = 4, Causal = true, KeyHeads = 2, Angles = Angles(tape, 5, 4) };

    private static Block Angles(Tape tape, int rows, int size)
    {
        var angles = new float[rows * size];
        for (int i = 0; i < angles.Length; i++)
            angles[i] = i % size < size / 2 ? MathF.Cos(0.3f * i) : MathF.Sin(0.3f * (i - size / 2));
        return tape.Values(angles);
    }

    private static Tape NewTape(Device device, Precision precision = Precision.F32) => new(device) { Seed = 3, Precision = precision };

    private static float[] GradientOf(Tape tape, Parameter parameter)
    {
        var result = new float[parameter.Length];
        parameter.Device.Download(tape.Gradients[parameter], result);
        return result;
    }

    private static IEnumerable<float[]> Gradients(Device device, Case test, Precision precision = Precision.F32)
    {
        Parameter[] inputs = Inputs(device, test);
        Tape tape = NewTape(device, precision);
        tape.Backward(Scalar(tape, test.Output(tape, inputs)));
        return inputs.Select(input => GradientOf(tape, input)).ToArray();
    }

    private static Parameter[] Inputs(Device device, Case test)
    {
        var inputs = new Parameter[test.Shapes.Length];
        for (int k = 0; k < inputs.Length; k++)
        {
            inputs[k] = new Parameter(device, $"input {k}", test.Shapes[k]);
            device.Random(inputs[k].Data, RandomKind.Normal, 1, seed: 7, stream: (ulong)k);
        }

        return inputs;
    }

    /// <summary>A weighted sum, so that every element's gradient differs; a scalar stays.</summary>
    private static Tensor Scalar(Tape tape, Tensor output)
    {
        if (output.Length == 1)
            return output;
        Block weights = tape.Scratch(output.Length);
        tape.Device.Random(weights, RandomKind.Normal, 1, seed: 9, stream: 0);
        var row = new Tensor(tape.Device, output.Data, 1, (int)output.Length) { RequiresGradient = output.RequiresGradient };
        Tensor sum = tape.Output([1], row);
        sum.IsKept = true;
        tape.Device.Gemm(new GemmArguments(output.Data, weights, sum.Data, 1, 1, (int)output.Length));
        tape.Record(new WeightedSum(sum, output, weights));
        return sum;
    }

    private sealed class WeightedSum(Tensor sum, Tensor input, Block weights) : Operation(sum, input)
    {
        public override void Backward(Tape tape)
        {
            Block target = tape.GradientOf(input, out float beta);
            Assert.Equal(0, beta);
            tape.Device.Copy(weights, target);
        }
    }
}
