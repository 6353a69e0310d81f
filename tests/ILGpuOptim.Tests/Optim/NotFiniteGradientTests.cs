using ILGpuOptim.Compute;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Optim;

/// <summary>One gradient that is not a number makes parameters NaN, or is refused. It must not send the other elements far away, where nothing tells why.</summary>
public class NotFiniteGradientTests
{
    private static readonly string[] Parts = ["adamw+trust-ratio", "adamw+rms-clip", "adamw+cautious", "adamw+growth-limit", "lamb+cautious"];

    public static TheoryData<string, float> Rows => new(
        from name in Registry.Entries.Select(entry => entry.Name).Concat(Parts) from value in (float[])[float.NaN, float.PositiveInfinity] select (name, value));

    [Theory]
    [MemberData(nameof(Rows))]
    public void IsNotHiddenByABound(string name, float value)
    {
        using var device = new CpuDevice(1);
        var settings = new OptimizerSettings { Name = name }.With("rank", 3);
        OptimizerEntry entry = Registry.Find(name);
        using Optimizer optimizer = entry.Create(StateStorage.F32);
        Parameter[] parameters = [new(device, "h.0.attn.weight", 12, 20), new(device, "h.0.attn.bias", 20), new(device, "wte.weight", 9, 8)];
        foreach (Parameter parameter in parameters)
        {
            device.Fill(parameter.Data, 0.5f);
            optimizer.Add(parameter, entry.OptionsOf(settings, parameter.Name, parameter.Shape) with { LearningRate = 0.01, WeightDecay = 0.1 });
        }

        var gradients = new Gradients(device);
        try
        {
            for (ulong step = 1; step <= 4; step++)
            {
                foreach (Parameter parameter in parameters)
                {
                    Block target = gradients.Target(parameter, out _);
                    device.Random(target, RandomKind.Normal, 1, seed: 3, stream: step);
                    if (step == 2)
                        device.Fill(target.Slice(3, 1), value);
                }

                optimizer.Step(gradients);
            }
        }
        catch (UserException e)
        {
            Assert.Contains("not finite", e.Message);
            return;
        }

        foreach (Parameter parameter in parameters)
            Assert.DoesNotContain(parameter.ToArray(), x => float.IsInfinity(x) || Math.Abs(x) > 2);
    }
}
