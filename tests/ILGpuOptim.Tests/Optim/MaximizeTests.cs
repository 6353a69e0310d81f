using ILGpuOptim.Compute;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Optim;

/// <summary>Climbing along g is descending along -g, whatever the optimizer and with gradients that are clipped as they are read.</summary>
public class MaximizeTests
{
    public static TheoryData<string> Names => new(Registry.Entries.Select(entry => entry.Name));

    [Theory]
    [MemberData(nameof(Names))]
    public void ClimbsAsItDescends(string name)
    {
        float[] down = Train(name, climbs: false), up = Train(name, climbs: true);
        Assert.True(down.Max(Math.Abs) > 1e-4);
        Assert.Equal(down, up);
    }

    private static float[] Train(string name, bool climbs)
    {
        using var device = new CpuDevice(1);
        OptimizerEntry entry = Registry.Find(name);
        var settings = new OptimizerSettings { Name = name }.With("rank", 3);
        using Optimizer optimizer = entry.Create(StateStorage.F32);
        Parameter[] parameters = [new(device, "h.0.attn.weight", 12, 20), new(device, "h.0.attn.bias", 20)];
        foreach (Parameter parameter in parameters)
        {
            device.Fill(parameter.Data, 0.5f);
            optimizer.Add(parameter, entry.OptionsOf(settings, parameter.Name, parameter.Shape) with { LearningRate = 0.01, WeightDecay = 0.1, Maximize = climbs });
        }

        Block factor = device.Pool.Rent(1);
        device.Fill(factor, 0.25f);
        optimizer.GradientFactor = factor;
        var gradients = new Gradients(device);
        for (ulong step = 1; step <= 4; step++)
        {
            foreach (Parameter parameter in parameters)
                device.Random(gradients.Target(parameter, out _), RandomKind.Normal, climbs ? -1 : 1, seed: 3, stream: step);
            optimizer.Step(gradients);
        }

        device.Pool.Return(factor);
        return [.. parameters.SelectMany(parameter => parameter.ToArray())];
    }
}
