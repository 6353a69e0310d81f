namespace ILGpuOptim.Optim;

/// <summary>One update of a parameter in double precision, written as in the paper.</summary>
/// <param name="parameter">Changed in place, row after row.</param>
/// <param name="gradient">The gradient, of the parameter's length.</param>
/// <param name="state">The declared tensors by name; zero before the first step, changed in place.</param>
/// <param name="at">The step and the settings.</param>
public delegate void UpdateEquations(double[] parameter, double[] gradient, IReadOnlyDictionary<string, double[]> state, UpdateContext at);

/// <summary>The step and the settings of an update.</summary>
/// <param name="Step">The number of this update, from 1.</param>
/// <param name="LearningRate">The learning rate, multiplied by the schedule's factor.</param>
/// <param name="Shape">The sizes of the parameter.</param>
/// <param name="Options">The settings of its group.</param>
public sealed record UpdateContext(int Step, double LearningRate, IReadOnlyList<int> Shape, OptimizerOptions Options);
