namespace ILGpuOptim.Lab;

/// <summary>One update of a learning-rate range test.</summary>
/// <param name="Rate">The learning rate.</param>
/// <param name="Loss">The training loss before the update, in nats per token.</param>
/// <param name="Smoothed">The running mean of the losses so far.</param>
public sealed record RatePoint(double Rate, double Loss, double Smoothed);
