using System.ComponentModel;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>
/// Decoupled weight decay (Loshchilov and Hutter, ICLR 2019) in place of the optimizer's own: <c>adam+decoupled-decay</c> is AdamW. It needs no pass of its own.
/// </summary>
public sealed record DecoupledDecay : Part
{
    /// <inheritdoc/>
    public override string Name => "decoupled-decay";

    /// <inheritdoc/>
    public override string Summary => "decoupled weight decay in place of the optimizer's own (2019)";

    /// <summary>Where the decay enters.</summary>
    [Description("where weight decay enters: before the update, with_update or after it; gradient is L2 regularization, for optimizers whose direction is a function of each element")]
    public DecayForm DecoupledDecayForm { get; init; }
}
