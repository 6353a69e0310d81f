using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Mixtures;

/// <summary>What tests of mixtures share: a description, an objective and comparisons.</summary>
internal static class ExpertsProblem
{
    public static FeedForwardDescription Describe(int inner, int experts, int perToken, bool normalizes)
    {
        static ProjectionDescription Part(string name) => new("moe.experts.{e}." + name) { StandardDeviation = 0.7f };
        return new FeedForwardDescription
        {
            Activation = "silu",
            IntermediateSize = inner,
            Gate = Part("w1"),
            Up = Part("w3"),
            Down = Part("w2"),
            Experts = new ExpertsDescription(experts, perToken, new ProjectionDescription("moe.gate") { StandardDeviation = 0.9f }) { NormalizesWeights = normalizes },
        };
    }

    public static float[] Weights(int length)
    {
        var random = new Random(4);
        return [.. Enumerable.Range(0, length).Select(_ => (float)(2 * random.NextDouble() - 1))];
    }

    public static float[] GradientOf(Tape tape, Parameter parameter)
    {
        var result = new float[parameter.Length];
        parameter.Device.Download(tape.Gradients[parameter], result);
        return result;
    }

    public static void Close(double[] expected, float[] actual, string what)
    {
        Assert.Equal(expected.Length, actual.Length);
        double bound = 1e-5 * Math.Max(1e-2, expected.Length == 0 ? 0 : expected.Max(Math.Abs));
        for (int i = 0; i < actual.Length; i++)
            Assert.True(Math.Abs(actual[i] - expected[i]) <= bound, $"{what}[{i}]: {actual[i]} instead of {expected[i]}");
    }

    /// <summary>Σ weight · y + coefficient · loss, so that every element's gradient differs.</summary>
    public sealed class Objective(Tensor output, Tensor y, Block weights, Tensor? loss, float coefficient) : Operation(output, y, loss)
    {
        public static Tensor Of(Tape tape, Tensor y, float[] weights, Tensor? loss = null, float coefficient = 0)
        {
            Tensor output = tape.Output([1], y, loss);
            tape.Record(new Objective(output, y, tape.Values(weights), loss, coefficient));
            return output;
        }

        public override void Backward(Tape tape)
        {
            if (y.RequiresGradient)
            {
                Block target = tape.GradientOf(y, out float beta);
                Assert.Equal(0, beta);
                tape.Device.Copy(weights, target);
            }

            if (loss is { RequiresGradient: true })
                tape.Device.Fill(tape.GradientOf(loss, out _), coefficient);
        }
    }
}
