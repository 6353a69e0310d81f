namespace ILGpuOptim.Optim;

/// <summary>One update of a parameter in plain doubles, in the order of the paper and with no thought of speed.</summary>
/// <param name="parameter">Changed in place, row after row.</param>
/// <param name="gradient">As many numbers.</param>
/// <param name="state">The tensors of <see cref="Optimizer.Declare"/> in their order; zero before the first step, changed in place.</param>
/// <param name="at">The step and the settings.</param>
public delegate void UpdateEquations(double[] parameter, double[] gradient, double[][] state, UpdateContext at);

/// <summary>What an update depends on beside its numbers.</summary>
/// <param name="Step">The number of this update, from 1.</param>
/// <param name="LearningRate">With the schedule's factor.</param>
/// <param name="Shape">The sizes of the parameter.</param>
/// <param name="Options">The settings of its group.</param>
public sealed record UpdateContext(int Step, double LearningRate, IReadOnlyList<int> Shape, OptimizerOptions Options);
