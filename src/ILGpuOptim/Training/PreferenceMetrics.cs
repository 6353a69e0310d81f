namespace ILGpuOptim.Training;

/// <summary>How far a model prefers the chosen answers of pairs (<see cref="Ops.DpoOptions"/>).</summary>
/// <param name="Margin">The mean difference between the rewards of the chosen and the rejected answer of a pair.</param>
/// <param name="Accuracy">The fraction of pairs whose chosen answer has the larger reward.</param>
public sealed record PreferenceMetrics(double Margin, double Accuracy);
