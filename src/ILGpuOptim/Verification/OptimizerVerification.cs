using System.Text.Json;
using ILGpuOptim.Compute;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Verification;

/// <summary>
/// Replays recorded trajectories of reference optimizers. A parameter after t steps passes when its error is within
/// 1e-5 of M, the largest value of its trajectory, and within 1e-4 of the largest movement plus (t + 4) · 2⁻²⁵ M; a
/// state tensor within 1e-4 of its largest value.
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
        var groups = new Dictionary<string, JsonElement>();
        foreach ((string[] names, JsonElement hyper) in golden.Groups)
        {
            foreach (string name in names)
            {
                GoldenParameter source = golden.Parameters[name];
                var parameter = new Parameter(device, name, source.Shape);
                parameter.Load(golden.StartsAtZero ? new float[source.Length] : source.Initial());
                parameters.Add(name, parameter);
                groups.Add(name, hyper);
                optimizer.Add(parameter, options(hyper));
            }
        }

        if (optimizer is LowRankOptimizer lowRank)
        {
            lowRank.BasisSource = (state, refresh, second) =>
            {
                string name = $"proj.{state.Parameter.Name}.{refresh}";
                return golden.File.ReadF32(golden.File.Tensors.ContainsKey(name) ? name : name + (second ? ".B" : ".A"));
            };
        }

        var worst = new Check(golden.Name, 0, 1);
        for (int step = 1; step <= golden.Steps; step++)
        {
            foreach ((string name, Parameter parameter) in parameters)
            {
                parameter.Gradient ??= device.Pool.Rent(parameter.Length);
                device.Upload(golden.Gradient(golden.Parameters[name], step), parameter.Gradient.Value);
                parameter.HasGradient = true;
            }

            optimizer.LearningRateFactor = golden.LearningRateFactor(step);
            optimizer.Step();
            if (golden.RecordedSteps.Contains(step))
            {
                foreach ((string name, Parameter parameter) in parameters)
                    worst = Worse(worst, CheckParameter(golden, golden.Parameters[name], parameter.ToArray(), step, groups[name]));
            }
        }

        foreach (ParameterState state in optimizer.States)
            worst = Worse(worst, CheckState(golden, state, device));
        foreach (Parameter parameter in parameters.Values)
            parameter.Release();
        return worst;
    }

    private static Check Worse(Check left, Check right) => right.Error > left.Error || double.IsNaN(right.Error) ? right : left;

    private static Check CheckParameter(GoldenCase golden, GoldenParameter source, float[] actual, int step, JsonElement hyper)
    {
        float[] start = golden.StartsAtZero ? new float[source.Length] : source.Initial();
        float[] expected = golden.File.ReadF32($"param.{source.Name}.step{step}");
        double scale = Largest(start);
        foreach (int recorded in golden.RecordedSteps)
            scale = Math.Max(scale, Largest(golden.File.ReadF32($"param.{source.Name}.step{recorded}")));
        double error = 0, moved = 0;
        for (int i = 0; i < actual.Length; i++)
        {
            double difference = Math.Abs((double)actual[i] - expected[i]);
            error = difference <= error ? error : difference;
            moved = Math.Max(moved, Math.Abs((double)expected[i] - start[i]));
        }

        bool full = hyper.TryGetProperty("proj_type", out JsonElement type) && type.GetString() == "full";
        double ofMovement = golden.IsBf16 ? 1e-1 : full && step <= 2 ? 1e-3 : 1e-4;

        // The bf16 iterations are sanity checks of the movement alone.
        double absolute = golden.IsBf16 ? double.PositiveInfinity : 1e-5 * scale;
        double bound = Math.Min(absolute, ofMovement * moved + (step + 4) * Math.ScaleB(scale, -25));
        return new Check(golden.Name, bound == 0 ? error == 0 ? 0 : double.PositiveInfinity : error / bound, 1, $"{source.Name} after step {step}");
    }

    private static Check CheckState(GoldenCase golden, ParameterState state, Device device)
    {
        var worst = new Check(golden.Name, 0, 1);
        for (int i = 0; i < state.Declared.Count; i++)
        {
            string name = $"state.{state.Parameter.Name}.{state.Declared[i].Name}";
            float[]? expected = golden.File.Tensors.ContainsKey(name) ? golden.File.ReadF32(name)
                : state.Declared[i].Length == 1 && golden.FinalScalars(state.Parameter.Name).TryGetProperty(state.Declared[i].Name, out JsonElement scalar) ? [(float)scalar.GetDouble()]
                : null;
            if (expected is null)
                continue;
            var actual = new float[state.Declared[i].Length];
            device.Download(state.Blocks[i], actual);
            Check check = ModelVerification.Compare(golden.Name, actual, expected);
            worst = Worse(worst, check with { Error = check.Error / (golden.IsBf16 ? 1e-1 : 1e-4), Bound = 1, Note = name });
        }

        return worst;
    }

    private static double Largest(float[] values) => values.Max(value => Math.Abs((double)value));
}
