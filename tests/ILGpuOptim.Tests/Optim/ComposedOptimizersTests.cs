using ILGpuOptim.Compute;
using ILGpuOptim.Lab;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Tests.Optim;

/// <summary>Every optimizer of the registry with every part that it takes: exact resumes, and what a part does to a step.</summary>
public class ComposedOptimizersTests
{
    private const double Rate = 0.25;

    public static TheoryData<string> Names => [.. Registry.Entries.Select(entry => entry.Name)];

    /// <summary>Optimizers whose direction depends on the parameters, or on a step size that is not the learning rate.</summary>
    private static readonly string[] DependOnWeights = ["prodigy", "schedulefree-sgd", "schedulefree-adamw", "adafactor"];

    [Theory]
    [MemberData(nameof(Names))]
    public void AResumedRunHasTheSameBitsWithAllParts(string name)
    {
        OptimizerEntry entry = Registry.Find(name + string.Concat(Registry.Parts.Where(part => Takes(name, part.Name)).Select(part => "+" + part.Name)));
        OptimizerSettings settings = OptimizerChecks.Settings with { Name = entry.Name };
        if (name.StartsWith("schedulefree", StringComparison.Ordinal))
            settings = settings.With("decoupled_decay_form=with_update");
        using var device = new CpuDevice(2);
        using var other = new CpuDevice(1);
        foreach (StateStorage storage in (StateStorage[])[StateStorage.F32, StateStorage.Fp8])
        {
            TrajectoryForm form = TrajectoryForm.Shared;
            using var whole = new Trajectory(device, entry, settings with { StateType = storage }, form);
            whole.To(form.Steps / 2);
            using Trajectory resumed = whole.Resumed(other, entry, settings with { StateType = storage });
            whole.To(form.Steps);
            resumed.To(form.Steps);
            Assert.All(whole.Bits().Zip(resumed.Bits()), pair => Assert.Equal(pair.First.Bytes, pair.Second.Bytes));
        }
    }

    /// <summary>A scaling part multiplies the whole step by one factor.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void PartsScaleAStep(string name)
    {
        if (DependOnWeights.Contains(name))
            return;
        double[][] alone = Moves(name), clipped = Moves($"{name}+rms-clip:rms_clip_threshold=0.03125"), limited = Moves($"{name}+growth-limit");
        double[] factors = [Factor(alone[0], clipped[0]), Factor(alone[1], clipped[1]), Factor(alone[0], limited[0]), Factor(alone[1], limited[1])];
        Assert.All(factors, factor => Assert.InRange(factor, 1e-3, 1 + 1e-5));
        Assert.Equal(1, factors[2], 1e-5);

        // StableAdamW divides the learning rate by the size of its update, so steps are not lengths of directions.
        if (name != "stable-adamw")
        {
            Assert.All(alone.Zip(clipped), pair => Assert.Equal(Math.Min(Rms(pair.First), 0.03125 * Rate), Rms(pair.Second), 1e-5));
            Assert.Equal(Math.Min(Rms(alone[1]), 1.01 * Rms(alone[0])), Rms(limited[1]), 1e-5);
        }

        // The limit of the first gradient is its largest element.
        if (!RestsFirst(name))
            Assert.Equal(1, Factor(alone[0], Moves($"{name}+spike-clip")[0]), 1e-5);
        if (!Takes(name, "trust-ratio"))
            return;
        double[] trusted = Moves($"{name}+trust-ratio:trust_ratio_always=true")[0];
        Factor(alone[0], trusted);
        Assert.Equal(Rate * Rms(Initial), Rms(trusted), 1e-5);
    }

    /// <summary>Elements whose step would climb stay; the others are divided by the fraction that remains.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void CautionKeepsWhatDescends(string name)
    {
        // Muon's caution is before the orthogonalisation.
        if (DependOnWeights.Contains(name) || name is "muon" or "normuon")
            return;
        double[] alone = Moves(name)[^1], cautious = Moves($"{name}+cautious")[^1];
        double[] kept = [.. alone.Zip(Gradient(RestsFirst(name) ? 3 : 2), (move, g) => move * g < 0 ? move : 0)];
        int count = kept.Count(value => value != 0);
        Assert.InRange(count, Length / 3, Length);
        for (int i = 0; i < Length; i++)
            Assert.True(Math.Abs(cautious[i] - kept[i] * Length / count) <= 2e-5 * Rate, $"{i}: {cautious[i]} instead of {kept[i] * Length / count}");
    }

    private const int Rows = 12, Columns = 20, Length = Rows * Columns;

    private static double[] Initial => [.. Enumerable.Range(0, Length).Select(i => (double)(0.1f * MathF.Sin(i)))];

    /// <summary>True if the first step only begins the state.</summary>
    private static bool RestsFirst(string name) => name is "adopt" or "soap";

    private static bool Takes(string name, string part) => (name, part) is not (("prodigy", "spike-clip") or ("lamb", "trust-ratio"));

    private static float[] Gradient(int step) => [.. Enumerable.Range(0, Length).Select(i => step * MathF.Cos((step * step * 7 + 1) * (i + 1)))];

    /// <summary>What the first two updates without weight decay that move a matrix add to it.</summary>
    private static double[][] Moves(string label)
    {
        using var device = new CpuDevice(2);
        var parameter = new Parameter(device, "h.0.attn.weight", Rows, Columns);
        parameter.Load([.. Initial.Select(value => (float)value)]);
        OptimizerSettings settings = new OptimizerSettings().For(label) with { LearningRate = Rate, WeightDecay = 0 };
        using Optimizer optimizer = Registry.Create(settings, [parameter], out _);
        var gradients = new Gradients(device);
        List<double[]> moves = [];
        for (int step = 1; moves.Count < 2; step++)
        {
            float[] before = parameter.ToArray();
            device.Upload(Gradient(step), gradients.Target(parameter, out _));
            optimizer.Step(gradients);
            double[] move = [.. parameter.ToArray().Zip(before, (after, start) => (double)after - start)];
            if (move.Any(value => value != 0))
                moves.Add(move);
        }

        gradients.Release();
        return [.. moves];
    }

    private static double Rms(double[] values) => Math.Sqrt(values.Sum(value => value * value) / values.Length);

    /// <summary>The factor between two steps, which all elements share.</summary>
    private static double Factor(double[] step, double[] scaled)
    {
        double factor = step.Zip(scaled, (a, b) => a * b).Sum() / step.Sum(value => value * value);
        for (int i = 0; i < step.Length; i++)
            Assert.True(Math.Abs(scaled[i] - factor * step[i]) <= 2e-6, $"{i}: {scaled[i]} is not {factor} · {step[i]}");
        return factor;
    }
}
