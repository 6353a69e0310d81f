using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Mixtures;

/// <summary>The load-balancing loss over several layers.</summary>
public sealed class RouterLossTests : IDisposable
{
    private const int Tokens = 9, Experts = 4, PerToken = 2;
    private static readonly int[] Padded = [1, 1, 0, 1, 1, 1, 0, 0, 1];
    private readonly ReferenceDevice device = new();

    public void Dispose() => device.Dispose();

    [Theory]
    [InlineData(1, false)]
    [InlineData(3, false)]
    [InlineData(3, true)]
    public void IsOneProductOfMeansOverAllLayers(int layers, bool padded)
    {
        int[] mask = padded ? Padded : [];
        (Parameter[] logits, Tape tape) = Logits(layers);
        RouterLoss loss = new(tape, layers, Experts, Tokens, mask);
        RouterChoice[] choices = [.. logits.Select(z => tape.Route(z, PerToken, normalizes: false, loss))];
        Tensor total = loss.Total();
        Tensor scaled = ExpertsProblem.Objective.Of(tape, choices[0].Weights, new float[Tokens * PerToken], total, 0.02f);
        tape.Backward(scaled);

        double[][] values = [.. logits.Select(z => z.ToArray().Select(v => (double)v).ToArray())];
        int[] counted = [.. Enumerable.Range(0, Tokens).Where(t => !padded || mask[t] != 0)];
        double rows = layers * counted.Length;
        var share = new double[Experts];
        foreach (double[] z in values)
        {
            foreach (int t in counted)
            {
                foreach (int e in Enumerable.Range(0, Experts).OrderByDescending(e => z[t * Experts + e]).Take(PerToken))
                    share[e] += 1 / rows;
            }
        }

        Assert.Equal(PerToken, share.Sum(), 1e-14);
        double[] Softmax(double[] z, int t)
        {
            double[] row = z[(t * Experts)..((t + 1) * Experts)];
            return [.. row.Select(v => Math.Exp(v) / row.Sum(Math.Exp))];
        }

        double expected = Experts * Enumerable.Range(0, Experts).Sum(e => share[e] * values.Sum(z => counted.Sum(t => Softmax(z, t)[e])) / rows);
        Assert.Equal(expected, total.Item(), 4e-7);

        // The closed form, (E / N) p_e (F_e - Σ F p), and nothing for padding.
        for (int layer = 0; layer < layers; layer++)
        {
            var slopes = new double[Tokens * Experts];
            foreach (int t in counted)
            {
                double[] p = Softmax(values[layer], t);
                double mean = p.Zip(share, (a, b) => a * b).Sum();
                for (int e = 0; e < Experts; e++)
                    slopes[t * Experts + e] = 0.02 * Experts / rows * p[e] * (share[e] - mean);
            }

            ExpertsProblem.Close(slopes, ExpertsProblem.GradientOf(tape, logits[layer]), $"layer {layer}");
        }
    }

    [Theory]
    [InlineData(0f)]
    [InlineData(0.2f)]
    public void RecomputedLayersGiveTheSameBits(float jitter)
    {
        using var cpu = new CpuDevice(2);
        FeedForwardDescription description = ExpertsProblem.Describe(6, Experts, PerToken, normalizes: true);
        description = description with { Experts = description.Experts! with { Jitter = jitter } };
        var initializer = new Initializer(cpu, seed: 5);
        ExpertsLayer[] layers = [new(initializer, 8, description), new(initializer, 8, description), new(initializer, 8, description)];
        var x = new Parameter(cpu, "x", Tokens, 8);
        cpu.Random(x.Data, RandomKind.Normal, 1, seed: 6, stream: 0);
        Parameter[] parameters = [x, .. layers.SelectMany(layer => layer.Parameters)];
        float[][] Run(Func<int, bool> isRecomputed)
        {
            Tape tape = new(cpu) { Seed = 4 };
            RouterLoss loss = new(tape, layers.Length, Experts, Tokens, Padded);
            Tensor y = x;
            for (int i = 0; i < layers.Length; i++)
            {
                ExpertsLayer layer = layers[i];
                Tensor Block(Tensor z) => tape.Add(z, layer.Forward(tape, z, loss));
                y = isRecomputed(i) ? tape.Recompute(y, Block) : Block(y);
            }

            y.IsKept = true;
            Tensor total = loss.Total();
            tape.Backward(ExpertsProblem.Objective.Of(tape, y, ExpertsProblem.Weights(Tokens * 8), total, 30));
            float[][] result = [y.ToArray(), total.ToArray(), .. parameters.Select(parameter => ExpertsProblem.GradientOf(tape, parameter))];
            tape.Reset();
            tape.Gradients.Release();
            return result;
        }

        float[][] expected = Run(_ => false);
        Assert.Equal(expected, Run(_ => true));
        Assert.Equal(expected, Run(i => i == 1));
    }

    [Fact]
    public void BlocksOfOneModelHaveAsManyExperts()
    {
        TransformerDescription description = new MixtralConfig { VocabularySize = 11, HiddenSize = 8, IntermediateSize = 8, Layers = 2, Heads = 2, KeyHeads = 1, ExpertCount = 4, AddsRouterLoss = true }.Describe();
        var initializer = new Initializer(device, seed: 1);
        Assert.NotEmpty(new TransformerStack(initializer, description).Parameters);
        BlockDescription second = description.Blocks[1];
        TransformerDescription uneven = description with { Blocks = [description.Blocks[0], second with { FeedForward = second.FeedForward with { Experts = second.FeedForward.Experts! with { Count = 3 } } }] };
        Assert.Contains("as many experts in every block that has any, not 4 and 3", Assert.Throws<ArgumentException>(() => new TransformerStack(initializer, uneven)).Message, StringComparison.Ordinal);
        Assert.NotEmpty(new TransformerStack(initializer, uneven with { RouterLossCoefficient = 0 }).Parameters);
    }

    [Fact]
    public void BalanceGivesTheExpertsPerToken()
    {
        Tape tape = new(device) { IsRecording = false };
        RouterLoss loss = new(tape, 1, 4, 4);
        Tensor z = tape.Output([4, 4]);
        device.Upload([3f, 2, 0, 0, 0, 3, 2, 0, 0, 0, 3, 2, 2, 0, 0, 3], z.Data);
        tape.Route(z, 2, normalizes: true, loss);
        Assert.Equal(2, loss.Total().Item(), 1e-6);
    }

    [Fact]
    public void NothingThatCountsGivesZero()
    {
        (Parameter[] logits, Tape tape) = Logits(1);
        RouterLoss loss = new(tape, 1, Experts, Tokens, new int[Tokens]);
        RouterChoice choice = tape.Route(logits[0], PerToken, normalizes: true, loss);
        Tensor total = loss.Total();
        Assert.Equal(0, total.Item());
        tape.Backward(ExpertsProblem.Objective.Of(tape, choice.Weights, new float[Tokens * PerToken], total, 1));
        Assert.All(ExpertsProblem.GradientOf(tape, logits[0]), value => Assert.Equal(0, value));
    }

    [Fact]
    public void MistakesAreErrors()
    {
        (Parameter[] logits, Tape tape) = Logits(1);
        Assert.Contains("5 for 9", Assert.Throws<ArgumentException>(() => new RouterLoss(tape, 1, Experts, Tokens, new int[5])).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentOutOfRangeException>(() => new RouterLoss(tape, 0, Experts, Tokens));
        RouterLoss loss = new(tape, 2, Experts, Tokens), narrow = new(tape, 1, Experts - 1, Tokens);
        Assert.Throws<ArgumentException>(() => tape.Route(logits[0], 1, normalizes: true, narrow));
        tape.Route(logits[0], 1, normalizes: true, loss);
        Assert.Contains("1 of 2", Assert.Throws<InvalidOperationException>(loss.Total).Message, StringComparison.Ordinal);
        tape.Route(logits[0], 1, normalizes: true, loss);
        Assert.Throws<InvalidOperationException>(() => tape.Route(logits[0], 1, normalizes: true, loss));
        loss.Total();
        Assert.Throws<InvalidOperationException>(loss.Total);
        Assert.Throws<ArgumentOutOfRangeException>(() => tape.Route(logits[0], 0, normalizes: true));
        Assert.Throws<ArgumentOutOfRangeException>(() => tape.Route(logits[0], Experts + 1, normalizes: true));
        tape.Reset();
    }

    private (Parameter[] Logits, Tape Tape) Logits(int layers)
    {
        var logits = new Parameter[layers];
        for (int i = 0; i < layers; i++)
        {
            logits[i] = new Parameter(device, $"logits {i}", Tokens, Experts);
            device.Random(logits[i].Data, RandomKind.Normal, 2, seed: 21, stream: (ulong)i);
        }

        return (logits, new Tape(device));
    }
}
