namespace ILGpuOptim.Models;

/// <summary>The loss of a batch and what it is the sum of; all scalars.</summary>
/// <param name="Total">What is trained: cross-entropy plus coefficient · router loss, times the scale that was asked for.</param>
/// <param name="CrossEntropy">The cross-entropy, times the scale.</param>
/// <param name="Router">The routers' load-balancing loss without its coefficient; null for a model whose loss has no such part.</param>
public readonly record struct LossParts(Tensor Total, Tensor CrossEntropy, Tensor? Router);
