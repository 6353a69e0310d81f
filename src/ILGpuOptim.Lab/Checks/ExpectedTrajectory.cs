using ILGpuOptim.Compute;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Lab;

/// <summary>Expected results of an optimizer: parameters after some steps, and the state after the last.</summary>
internal sealed class ExpectedTrajectory
{
    private readonly TrajectoryForm form;
    private readonly Dictionary<(int Parameter, int Step), float[]> parameters = [];
    private readonly List<float[][]> states = [];
    private readonly Dictionary<(int Parameter, long Refresh, int Axis), float[]> bases = [];

    private ExpectedTrajectory(TrajectoryForm form) => this.form = form;

    /// <summary>A gradient ten thousand times too large leaves bases whose smaller directions are rounding errors, so optimizers with bases go without.</summary>
    private static TrajectoryForm[] Forms(OptimizerEntry entry)
    {
        using Optimizer optimizer = entry.Create(StateStorage.F32);
        return [TrajectoryForm.Usual, optimizer is IBasisOptimizer ? TrajectoryForm.Edge with { Name = "zero gradients in between", HugeSteps = [] } : TrajectoryForm.Edge];
    }

    /// <summary>Computed by the optimizer itself in double precision.</summary>
    public static IReadOnlyList<ExpectedTrajectory> OfReference(OptimizerEntry entry, OptimizerSettings settings) => [.. Forms(entry).Select(form =>
    {
        var expected = new ExpectedTrajectory(form);
        using var device = new ReferenceDevice();
        using var run = new Trajectory(device, entry, settings, form);
        if (run.Optimizer is IBasisOptimizer basis)
            basis.BasisComputed = (state, refresh, axis, columns) => expected.bases[(state.Index, refresh, axis)] = columns;
        foreach (int step in form.ComparedSteps)
        {
            run.To(step);
            for (int i = 0; i < form.Shapes.Count; i++)
                expected.parameters[(i, step)] = run.Parameters[i].ToArray();
        }

        for (int i = 0; i < form.Shapes.Count; i++)
            expected.states.Add([.. run.Optimizer.States[i].Declared.Select((_, tensor) => run.State(i, tensor))]);
        return expected;
    })];

    /// <summary>Computed by the author's equations in double precision.</summary>
    public static IReadOnlyList<ExpectedTrajectory> OfEquations(OptimizerEntry entry, OptimizerSettings settings) => [.. Forms(entry).Select(form =>
    {
        var expected = new ExpectedTrajectory(form);
        using var device = new ReferenceDevice();
        using var run = new Trajectory(device, entry, settings, form);
        for (int i = 0; i < form.Shapes.Count; i++)
        {
            ParameterState state = run.Optimizer.States[i];
            double[] p = Array.ConvertAll(form.Initial(i), value => (double)value);
            Dictionary<string, double[]> tensors = state.Declared.ToDictionary(tensor => tensor.Name, tensor => new double[tensor.Length]);
            for (int step = 1; step <= form.Steps; step++)
            {
                var at = new UpdateContext(step, state.Options.LearningRate * form.Factor(step), form.Shapes[i].Shape, state.Options);
                entry.Equations!(p, Array.ConvertAll(form.Gradient(i, step), value => (double)value), tensors, at);
                if (form.ComparedSteps.Contains(step))
                    expected.parameters[(i, step)] = Array.ConvertAll(p, value => (float)value);
            }

            expected.states.Add([.. state.Declared.Select(tensor => Array.ConvertAll(tensors[tensor.Name], value => (float)value))]);
        }

        return expected;
    })];

    /// <summary>The largest error on a device, as a fraction of its bound.</summary>
    public Check Compare(string name, Device device, OptimizerEntry entry, OptimizerSettings settings)
    {
        using var run = new Trajectory(device, entry, settings, form);

        // Directions of equal singular values are arbitrary, so both runs take the same.
        if (run.Optimizer is IBasisOptimizer basis && bases.Count > 0)
            basis.BasisSource = (state, refresh, axis) => bases[(state.Index, refresh, axis)];
        var worst = new Check(name, 0, 1, form.Name);
        void Take(double error, string where)
        {
            if (error > worst.Error || double.IsNaN(error))
                worst = new Check(name, error, 1, $"{form.Name}, {where}");
        }

        foreach (int step in form.ComparedSteps)
        {
            run.To(step);
            for (int i = 0; i < form.Shapes.Count; i++)
            {
                float[] start = form.Initial(i);
                double largest = form.ComparedSteps.Select(compared => parameters[(i, compared)]).Append(start).Max(GoldenTolerance.Largest);
                Take(GoldenTolerance.Usual.Check(run.Parameters[i].ToArray(), parameters[(i, step)], start, largest, step), $"{form.Shapes[i].Name} after step {step}");
            }
        }

        for (int i = 0; i < form.Shapes.Count; i++)
        {
            for (int tensor = 0; tensor < states[i].Length; tensor++)
                Take(GoldenTolerance.CheckState(run.State(i, tensor), states[i][tensor]), $"state {run.Optimizer.States[i].Declared[tensor].Name} of {form.Shapes[i].Name}");
        }

        return worst;
    }
}
