using System.Text.Json;
using ILGpuOptim.Compute;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Verification;

/// <summary>
/// Replays recorded trajectories of reference optimizers and compares parameters after each recorded step, and states
/// at the end, within <see cref="GoldenTolerance"/>.
/// </summary>
public static class OptimizerVerification
{
    /// <summary>Replays every case of a folder; each check is an error relative to its bound.</summary>
    public static IReadOnlyList<Check> Run(string folder, Device device)
    {
        var checks = new List<Check>();
        foreach (GoldenCase golden in GoldenCase.ReadAll(folder))
        {
            using (golden)
                checks.Add(Run(golden, device));
        }

        return checks;
    }

    /// <summary>Replays a case.</summary>
    public static Check Run(GoldenCase golden, Device device)
    {
        Optimizer? created;
        Func<JsonElement, OptimizerOptions> options;
        try
        {
            (created, options) = GoldenOptimizers.Create(golden);
        }
        catch (UserException e)
        {
            return new Check(golden.Name, double.NaN, 1, e.Message);
        }

        if (created is null)
            return new Check(golden.Name, double.NaN, 1, "missing: there is no such optimizer here");
        using Optimizer optimizer = created;
        var parameters = new Dictionary<string, Parameter>();
        foreach ((string[] names, JsonElement hyper) in golden.Groups)
        {
            foreach (string name in names)
            {
                GoldenParameter source = golden.Parameters[name];
                var parameter = new Parameter(device, name, source.Shape);
                parameter.Load(source.Initial());
                parameters.Add(name, parameter);
                optimizer.Add(parameter, options(hyper));
            }
        }

        if (optimizer is LowRankOptimizer lowRank)
            lowRank.BasisSource = (state, refresh, second) => golden.Parameters[state.Parameter.Name].Projection(refresh, second);

        var worst = new Check(golden.Name, 0, 1);
        for (int step = 1; step <= golden.Steps; step++)
        {
            foreach ((string name, Parameter parameter) in parameters)
            {
                parameter.Gradient ??= device.Pool.Rent(parameter.Length);
                device.Upload(golden.Parameters[name].Gradient(step), parameter.Gradient.Value);
                parameter.HasGradient = true;
            }

            optimizer.LearningRateFactor = golden.LearningRateFactor(step);
            optimizer.Step();
            if (golden.RecordedSteps.Contains(step))
            {
                foreach ((string name, Parameter parameter) in parameters)
                    worst = Worse(worst, CheckParameter(golden, golden.Parameters[name], parameter.ToArray(), step));
            }
        }

        foreach (ParameterState state in optimizer.States)
            worst = Worse(worst, CheckState(golden, state, device));
        foreach (Parameter parameter in parameters.Values)
            parameter.Release();
        return worst;
    }

    private static Check Worse(Check left, Check right) => right.Error > left.Error || double.IsNaN(right.Error) ? right : left;

    private static Check CheckParameter(GoldenCase golden, GoldenParameter source, float[] actual, int step)
    {
        double error = golden.ToleranceOf(source.Name, step).Check(actual, source.ExpectedParameter(step), source.Initial(), source.Largest, step);
        return new Check(golden.Name, error, 1, $"{source.Name} after step {step}");
    }

    /// <summary>Each recorded state must have its like here; states that only we keep are our own affair.</summary>
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
            device.Download(state.Blocks[i], actual);
            worst = Worse(worst, new Check(golden.Name, GoldenTolerance.CheckState(actual, expected), 1, $"state {name} of {source.Name}"));
        }

        return missing.Count == 0 ? worst : new Check(golden.Name, double.NaN, 1, $"{source.Name} has no state {string.Join(", ", missing)}");
    }
}
