using ILGpuOptim.Compute;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Tests.Optim;

/// <summary>Lion has no recorded trajectory: its equations in double, step by step.</summary>
public class LionTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(33)]
    [InlineData(4097)]
    public void FollowsItsEquations(int length)
    {
        using var device = new CpuDevice(2);
        var parameter = new Parameter(device, "p", length);
        device.Random(parameter.Data, RandomKind.Normal, 1, 1, 0);
        double[] p = Array.ConvertAll(parameter.ToArray(), value => (double)value), m = new double[length];
        using var lion = new Lion();
        lion.Add(parameter, new LionOptions { LearningRate = 0.01, WeightDecay = 0.1 });
        var gradients = new Gradients(device);
        for (ulong step = 1; step <= 20; step++)
        {
            Block gradient = gradients.Target(parameter, out _);
            device.Random(gradient, RandomKind.Normal, 1, 2, step);
            var g = new float[length];
            device.Download(gradient, g);
            lion.Step(gradients);
            for (int i = 0; i < length; i++)
            {
                p[i] = p[i] * (1 - 0.01 * 0.1) - 0.01 * Math.Sign(0.9 * m[i] + (1 - 0.9) * g[i]);
                m[i] = 0.99 * m[i] + (1 - 0.99) * g[i];
            }
        }

        float[] actual = parameter.ToArray();
        for (int i = 0; i < length; i++)
            Assert.True(Math.Abs(actual[i] - p[i]) <= 1e-5, $"{i}: {actual[i]} instead of {p[i]}");
    }
}
