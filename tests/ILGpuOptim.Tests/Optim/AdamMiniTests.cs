using ILGpuOptim.Compute;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Tests.Optim;

/// <summary>Adam-mini against its equations, written out element by element in double precision.</summary>
public class AdamMiniTests
{
    [Theory]
    [InlineData("h.0.attn.c_attn.weight", 8, 36, 4)]
    [InlineData("h.0.mlp.c_fc.weight", 7, 33, 4)]
    [InlineData("model.layers.0.self_attn.q_proj.weight", 12, 7, 4)]
    [InlineData("encoder.block.0.layer.0.SelfAttention.k.weight", 12, 7, 4)]
    [InlineData("model.layers.0.attn.Wqkv.weight", 36, 7, 4)]
    [InlineData("model.layers.0.mlp.up_proj.weight", 31, 8, 4)]
    [InlineData("wte.weight", 13, 5, 4)]
    [InlineData("ln_f.weight", 1, 33, 4)]
    public void FollowsTheEquations(string name, int rows, int columns, int headSize)
    {
        const double Rate = 1e-2, Beta1 = 0.9, Beta2 = 0.95, Epsilon = 1e-8, Decay = 0.1;
        using var device = new CpuDevice(2);
        Parameter parameter = rows == 1 ? new(device, name, columns) : new(device, name, rows, columns);
        AdamMiniOptions options = AdamMini.ForParameter(
            new AdamMiniOptions { LearningRate = Rate, Beta1 = Beta1, Beta2 = Beta2, Epsilon = Epsilon, WeightDecay = Decay, HeadSize = headSize }, name, parameter.Shape);
        using var optimizer = new AdamMini();
        device.Random(parameter.Data, RandomKind.Normal, 1, 1, 0);
        double[] p = [.. parameter.ToArray().Select(x => (double)x)], m = new double[p.Length];
        int[] block = [.. Enumerable.Range(0, p.Length).Select(i => BlockOf(name, i / columns, i % columns, columns, headSize))];
        double[] v = new double[block.Max() + 1];
        optimizer.Add(parameter, options);
        var gradients = new Gradients(device);
        for (int step = 1; step <= 5; step++)
        {
            Block gradient = gradients.Target(parameter, out _);
            device.Random(gradient, RandomKind.Normal, 0.3f, 2, (ulong)step);
            float[] g = new float[p.Length];
            device.Download(gradient, g);
            optimizer.Step(gradients);
            foreach (int b in block.Distinct())
                v[b] = Beta2 * v[b] + (1 - Beta2) * Enumerable.Range(0, p.Length).Where(i => block[i] == b).Average(i => (double)g[i] * g[i]);
            for (int i = 0; i < p.Length; i++)
            {
                m[i] = Beta1 * m[i] + (1 - Beta1) * g[i];
                double root = Math.Sqrt(v[block[i]] / (1 - Math.Pow(Beta2, step))) + Epsilon;
                p[i] = p[i] * (1 - Rate * Decay) - Rate * (m[i] / (1 - Math.Pow(Beta1, step))) / root;
            }
        }

        float[] actual = parameter.ToArray();
        for (int i = 0; i < p.Length; i++)
            Assert.Equal(p[i], actual[i], 4e-6);
    }

    [Fact]
    public void RefusesAHeadSizeThatDoesNotDivide() => Assert.Equal(
        "head_size = 7 does not divide the 32 neurons of queries and keys in model.layers.0.self_attn.k_proj.weight; leave it out to take the model's",
        Assert.Throws<UserException>(() => AdamMini.ForParameter(new AdamMiniOptions { HeadSize = 7 }, "model.layers.0.self_attn.k_proj.weight", [32, 64])).Message);

    /// <summary>Heads for queries and keys, neurons for other matrices, rows for embeddings, one for a vector.</summary>
    private static int BlockOf(string name, int row, int column, int columns, int headSize) => name switch
    {
        _ when name.Contains("c_attn") => column < columns / 3 * 2 ? column / headSize : 1000 + column,
        _ when name.Contains("c_fc") => column,
        _ when name.Contains("q_proj") || name.Contains("Attention.k") => row / headSize,
        _ when name.Contains("Wqkv") => row < 24 ? row / headSize : 1000 + row,
        _ when name.Contains("ln_f") => 0,
        _ => row,
    };
}
