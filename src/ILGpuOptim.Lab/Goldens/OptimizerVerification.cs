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
        if (optimizer is IBasisOptimizer bases)
            bases.BasisSource = (state, refresh, axis) => golden.Parameters[state.Parameter.Name].Basis(refresh, axis);

        if (optimizer is Spam spam)
            spam.MaskSource = (state, resets) => golden.Parameters[state.Parameter.Name].Mask((int)resets);

        var worst = new Check(golden.Name, 0, 1);
        for (int step = 1; step <= golden.Steps; step++)
        {
            foreach ((string name, Parameter parameter) in parameters)
                device.Upload(golden.Parameters[name].Gradient(step), gradients.Target(parameter, out _));

            optimizer.LearningRateFactor = golden.LearningRateFactor(step);
            optimizer.Step(gradients);
            if (optimizer is ICurvatureOptimizer curvature && step % curvature.CurvatureInterval == 0)
            {
                foreach ((string name, Parameter parameter) in parameters)
                    device.Upload(golden.Parameters[name].AuxiliaryGradient(step), gradients.Target(parameter, out _));
                curvature.UpdateCurvature(gradients);
            }

            if (golden.RecordedSteps.Contains(step))
            {
                foreach ((string name, Parameter parameter) in parameters)
                    worst = Worse(worst, CheckParameter(golden, golden.Parameters[name], parameter, "param", step));
                worst = Worse(worst, CheckShared(golden, optimizer, device, step));
                worst = Worse(worst, CheckEvaluation(golden, optimizer, parameters, step));
            }
        }

        foreach (ParameterState state in optimizer.States)
            worst = Worse(worst, CheckState(golden, state, device));
        return worst;
    }

    private static Check Worse(Check left, Check right) => right.Error > left.Error || double.IsNaN(right.Error) ? right : left;

    private static Check CheckParameter(GoldenCase golden, GoldenParameter source, Parameter parameter, string kind, int step)
    {
        GoldenTolerance tolerance = golden.ToleranceOf(source.Name, step) with { OfRecording = parameter.Device is ReferenceDevice ? golden.DistanceFromDouble : 0 };
        double error = tolerance.Check(parameter.ToArray(), source.Expected(kind, step), source.Initial(), source.Largest, step);
        return new Check(golden.Name, error, 1, $"{source.Name} after step {step}{(kind == "eval" ? ", for evaluation" : "")}");
    }

    /// <summary>The weights for evaluation, of optimizers that have their own.</summary>
    private static Check CheckEvaluation(GoldenCase golden, Optimizer optimizer, Dictionary<string, Parameter> parameters, int step)
    {
        var worst = new Check(golden.Name, 0, 1);
        using IDisposable? evaluating = optimizer.EvaluationWeights();
        foreach ((string name, Parameter parameter) in parameters)
        {
            bool isRecorded = golden.File.Tensors.ContainsKey($"eval.{name}.step{step}");
            if (isRecorded != optimizer.HasEvaluationWeights)
                return new Check(golden.Name, double.NaN, 1, $"{name} after step {step} {(isRecorded ? "has recorded weights for evaluation, but the optimizer has none" : "has no recorded weights for evaluation")}");
            if (isRecorded)
                worst = Worse(worst, CheckParameter(golden, golden.Parameters[name], parameter, "eval", step));
        }

        return worst;
    }

    /// <summary>Compares the state of the whole optimizer with what the reference keeps in each group.</summary>
    private static Check CheckShared(GoldenCase golden, Optimizer optimizer, Device device, int step)
    {
        var worst = new Check(golden.Name, 0, 1);
        foreach ((int group, JsonElement scalars) in golden.GroupScalars(step).Index())
        {
            foreach (StateTensor tensor in optimizer.SharedState)
            {
                if (!scalars.TryGetProperty(tensor.Name, out JsonElement expected))
                    continue;
                var actual = new float[tensor.Length];
                device.Download(optimizer.Shared(tensor.Name), actual);
                float value = (float)(expected.GetDouble() / GoldenForms.UnitOf(tensor.Name, golden.Groups[group].Hyper));
                worst = Worse(worst, new Check(golden.Name, GoldenTolerance.CheckState(actual, [value]), 1, $"{tensor.Name} after step {step}"));
            }
        }

        return worst;
    }

    /// <summary>
    /// Compares every recorded state tensor; state that the reference does not have is not compared. State that is not kept here must hold nothing that matters: zeros, or a
    /// copy of the last gradient.
    /// </summary>
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

            // A single number stands for a tensor that is everywhere the same.
            if (expected.Length == 1 && actual.Length > 1)
                expected = [.. Enumerable.Repeat(expected[0], actual.Length)];
            double error = GoldenForms.IsBasis(golden, name, out bool isTransposed)
                ? GoldenTolerance.CheckBasis(isTransposed ? Transposed(actual, state.Declared[i].Shape) : actual, expected, state.Declared[i].Shape[^1], isTransposed ? GoldenTolerance.OfState : GoldenTolerance.OfIteratedBasis)
                : GoldenTolerance.CheckState(source.Kept(actual), expected);
            worst = Worse(worst, new Check(golden.Name, error, 1, $"state {name} of {source.Name}"));
        }

        missing.RemoveWhere(name => source.ExpectedState(name) is { } expected && (expected.All(value => value == 0) || expected.SequenceEqual(source.Gradient(golden.Steps))));

        return missing.Count == 0 ? worst : new Check(golden.Name, double.NaN, 1, $"{source.Name} has no state {string.Join(", ", missing)}");
    }

    private static float[] Transposed(float[] rows, IReadOnlyList<int> shape)
    {
        var columns = new float[rows.Length];
        for (int i = 0; i < rows.Length; i++)
            columns[i % shape[1] * shape[0] + i / shape[1]] = rows[i];
        return columns;
    }
}
