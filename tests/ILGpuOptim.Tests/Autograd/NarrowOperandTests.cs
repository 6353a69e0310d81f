using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Autograd;

/// <summary>Parameters of bf16 and int8 as any operand of the transformer's operations: results and gradients of f32 parameters of the same values.</summary>
public class NarrowOperandTests
{
    private static readonly Dictionary<string, (int[][] Shapes, Func<Tape, Parameter[], Tensor> Output)> Table = new()
    {
        ["SelfAttention"] = ([[6, 24], [5, 2]], (tape, p) => tape.SelfAttention(p[0], 2, new AttentionSettings { Heads = 2, DistanceBias = p[1] })),
        ["rotated SelfAttention"] = ([[6, 24]], (tape, p) => tape.SelfAttention(p[0], 2, new AttentionSettings { Heads = 2, Causal = true, Angles = Angles(tape, 6, 4) })),
        ["Attention"] = ([[6, 8], [4, 8], [4, 8], [4, 2]], (tape, p) => tape.Attention(p[0], p[1], p[2], 2, new AttentionSettings { Heads = 2, DistanceBias = p[3] })),
        ["Rotate"] = ([[6, 8]], (tape, p) => tape.Rotate(p[0], 2, Angles(tape, 6, 4))),
        ["LayerNorm"] = ([[3, 8], [8], [8]], (tape, p) => tape.LayerNorm(p[0], p[1], p[2], 1e-5f)),
        ["RmsNorm"] = ([[3, 8], [4]], (tape, p) => tape.RmsNorm(p[0], p[1], 1e-5f)),
        ["Linear"] = ([[3, 8], [5, 8], [5], [3, 5]], (tape, p) => tape.Linear(p[0], p[1], p[2], p[3], transposed: true)),
        ["Linear without bias"] = ([[3, 8], [8, 5]], (tape, p) => tape.Linear(p[0], p[1], null)),
        ["Linear with residual"] = ([[3, 8], [5, 8], [3, 5]], (tape, p) => tape.Linear(p[0], p[1], null, p[2], transposed: true)),
        ["LinearActivation"] = ([[3, 8], [8, 5], [5]], (tape, p) => tape.LinearActivation(p[0], p[1], p[2], Activation.GeluErf)),
        ["LinearPacked"] = ([[3, 8], [5, 8], [2, 8], [5], [2]], (tape, p) => tape.LinearPacked(p[0], [p[1], p[2]], [p[3], p[4]])),
        ["LowRankSum"] = ([[5, 8], [2, 8], [5, 2]], (tape, p) => tape.LowRankSum(p[0], p[1], p[2], 0.5f, transposed: true)),
        ["Embedding"] = ([[5, 8], [3, 8]], (tape, p) => tape.Embedding(p[0], tape.Indices([4, 0, 4]), p[1])),
        ["CrossEntropy"] = ([[3, 8], [5, 8], [5]], (tape, p) => tape.CrossEntropy(p[0], p[1], p[2], [4, -1, 0])),
        ["CrossEntropy, computed again"] = ([[3, 8], [5, 8]], (tape, p) => tape.CrossEntropy(p[0], p[1], null, [4, -1, 0], mostKept: 0)),
        ["TokenLosses"] = ([[3, 8], [5, 8], [5]], (tape, p) => tape.TokenLosses(p[0], p[1], p[2], [4, -1, 0])),
        ["Dropout"] = ([[3, 8]], (tape, p) => tape.Dropout(p[0], 0.3f)),
        ["Jitter"] = ([[3, 8]], (tape, p) => tape.Jitter(p[0], 0.3f)),
        ["Activate"] = ([[3, 8]], (tape, p) => tape.Activate(p[0], Activation.Silu)),
        ["experts"] = ([[3, 8], [3, 2], [4, 8], [4, 8]], Experts),
    };

    public static TheoryData<string, DType> Cases => new(Table.Keys.SelectMany(name => new[] { (name, DType.BF16), (name, DType.I8) }));

    [Theory]
    [MemberData(nameof(Cases))]
    public void AreReadAsTheirValues(string name, DType type)
    {
        using var device = new CpuDevice(1);
        (int[][] shapes, Func<Tape, Parameter[], Tensor> output) = Table[name];
        Parameter[] narrow = [.. shapes.Select((shape, i) => new Parameter(device, $"input {i}", type, shape))], wide = [.. shapes.Select((shape, i) => new Parameter(device, $"input {i}", shape))];
        for (int i = 0; i < shapes.Length; i++)
        {
            narrow[i].Load([.. Enumerable.Range(0, (int)narrow[i].Length).Select(k => MathF.Sin(1 + i + (2.7f * k)))]);
            wide[i].Load(narrow[i].ToArray());
        }

        (float[] expected, float[] unrecorded, float[][] gradients) = Run(device, wide, output);
        (float[] actual, float[] alone, float[][] others) = Run(device, narrow, output);
        Near(expected, actual, "result");
        Near(unrecorded, alone, "result without recording");
        for (int i = 0; i < shapes.Length; i++)
            Near(gradients[i], others[i], $"input {i}");
    }

    private static Tensor Experts(Tape tape, Parameter[] p)
    {
        RouterChoice choice = tape.Route(p[1], 2, normalizes: false);
        return tape.FromExperts(choice, tape.ExpertLinear(choice, tape.ToExperts(choice, p[0]), [p[2], p[3]]));
    }

    private static (float[] Values, float[] Unrecorded, float[][] Gradients) Run(CpuDevice device, Parameter[] inputs, Func<Tape, Parameter[], Tensor> output)
    {
        using var tape = new Tape(device) { Seed = 5, IsRecording = false };
        float[] unrecorded = output(tape, inputs).ToArray();
        tape.IsRecording = true;
        Tensor result = output(tape, inputs);
        float[] values = result.ToArray();
        Tensor weights = tape.Constant([.. Enumerable.Range(0, values.Length).Select(k => MathF.Cos(k))], [.. result.Shape]);
        tape.Backward(tape.Sum(tape.Multiply(result, weights)));
        return (values, unrecorded, [.. inputs.Select(input => new Tensor(device, tape.Gradients[input], [.. input.Shape]).ToArray())]);
    }

    private static void Near(float[] expected, float[] actual, string what)
    {
        Assert.Contains(expected, value => value != 0);
        float largest = expected.Max(Math.Abs);
        Assert.All(actual.Zip(expected), pair => Assert.True(Math.Abs(pair.First - pair.Second) <= 2e-7f * largest, $"{what}: {pair.First} instead of {pair.Second}"));
    }

    private static Block Angles(Tape tape, int rows, int size) => tape.Values([.. Enumerable.Range(0, rows * size).Select(i => MathF.Sin(i))]);
}
