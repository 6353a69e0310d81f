namespace ILGpuOptim.Models;

/// <summary>The loss of a batch and its terms; all scalars.</summary>
/// <param name="Total">The training loss: cross-entropy plus coefficient · router loss, times the scale.</param>
/// <param name="CrossEntropy">The cross-entropy, times the scale.</param>
/// <param name="Router">The routers' load-balancing loss without its coefficient; null for a model without it.</param>
public readonly record struct LossParts(Tensor Total, Tensor CrossEntropy, Tensor? Router);
