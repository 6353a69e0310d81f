using System.Text.Json;
using ILGpuOptim.Compute;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Lab;

/// <summary>
/// Replays recorded trajectories of reference optimizers and compares parameters after each recorded step, and states
/// at the end, within <see cref="GoldenTolerance"/>.
/// </summary>
internal static class OptimizerVerification
{
    /// <summary>Replays every case of a folder; each check is an error relative to its bound.</summary>
    public static IReadOnlyList<Check> Run(string folder, Device device)
    {
        var checks = new List<Check>();
        foreach (JsonElement entry in GoldenCase.ReadIndex(folder))
        {
            try
            {
                using GoldenCase golden = GoldenCase.Open(folder, entry);
                checks.Add(Run(golden, device));
            }
            catch (UserException e)
            {
                checks.Add(new Check(GoldenCase.TitleOf(entry), double.NaN, 1, e.Message));
            }
        }

        return checks;
    }

    /// <summary>Replays a case. A case that cannot be replayed is a failed check with the reason.</summary>
    public static Check Run(GoldenCase golden, Device device)
    {
        var parameters = new Dictionary<string, Parameter>();
        var gradients = new Gradients(device);
        try
        {
            using Optimizer optimizer = GoldenOptimizers.Create(golden);
            return Run(golden, device, optimizer, parameters, gradients);
        }
        catch (Exception e) when (e is UserException || GoldenCase.IsDamage(e))
        {
            return new Check(golden.Name, double.NaN, 1, e.Message);
        }
        finally
        {
            gradients.Release();
            foreach (Parameter parameter in parameters.Values)
                parameter.Release();
        }
    }

    private static Check Run(GoldenCase golden, Device device, Optimizer optimizer, Dictionary<string, Parameter> parameters, Gradients gradients)
    {
        foreach (string name in golden.Groups.SelectMany(group => group.Parameters))
        {
            GoldenParameter source = golden.Parameters[name];
            var parameter = new Parameter(device, name, source.Shape);
            parameters.Add(name, parameter);
            parameter.Load(source.Initial());
            optimizer.Add(parameter, GoldenOptimizers.OptionsOf(golden, source));
        }

        if (optimizer is ILowRankOptimizer lowRank)
            lowRank.BasisSource = (state, refresh, second) => golden.Parameters[state.Parameter.Name].Projection(refresh, second);

        var worst = new Check(golden.Name, 0, 1);
        for (int step = 1; step <= golden.Steps; step++)
        {
            foreach ((string name, Parameter parameter) in parameters)
                device.Upload(golden.Parameters[name].Gradient(step), gradients.Target(parameter, out _));

            optimizer.LearningRateFactor = golden.LearningRateFactor(step);
            optimizer.Step(gradients);
            if (golden.RecordedSteps.Contains(step))
            {
                foreach ((string name, Parameter parameter) in parameters)
                    worst = Worse(worst, CheckParameter(golden, golden.Parameters[name], parameter.ToArray(), step));
            }
        }

        foreach (ParameterState state in optimizer.States)
            worst = Worse(worst, CheckState(golden, state, device));
        return worst;
    }

    private static Check Worse(Check left, Check right) => right.Error > left.Error || double.IsNaN(right.Error) ? right : left;

    private static Check CheckParameter(GoldenCase golden, GoldenParameter source, float[] actual, int step)
    {
        double error = golden.ToleranceOf(source.Name, step).Check(actual, source.ExpectedParameter(step), source.Initial(), source.Largest, step);
        return new Check(golden.Name, error, 1, $"{source.Name} after step {step}");
    }

    /// <summary>Compares every recorded state tensor; state that the reference does not have is not compared.</summary>
    private static Check CheckState(GoldenCase golden, ParameterState state, Device device)
    {
        var worst = new Check(golden.Name, 0, 1);
        GoldenParameter source = golden.Parameters[state.Parameter.Name];
        var missing = new HashSet<string>(source.States, StringComparer.Ordinal);
        for (int i = 0; i < state.Declared.Count; i++)
        {
            string name = state.Declared[i].Name;
            if (source.ExpectedState(name) is not { } expected)
                continue;
            missing.Remove(name);
            var actual = new float[state.Declared[i].Length];
            device.Download(state[name], actual);
            worst = Worse(worst, new Check(golden.Name, GoldenTolerance.CheckState(actual, expected), 1, $"state {name} of {source.Name}"));
        }

        return missing.Count == 0 ? worst : new Check(golden.Name, double.NaN, 1, $"{source.Name} has no state {string.Join(", ", missing)}");
    }
}
