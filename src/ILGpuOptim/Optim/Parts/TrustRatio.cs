using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>
/// The trust ratio of LAMB (You et al., ICLR 2020): u ← u · ‖p‖ / ‖u‖ of the parameter, or u where either is 0. As in LAMB, parameters without weight decay keep their
/// direction unless <see cref="TrustRatioAlways"/>.
/// </summary>
public sealed record TrustRatio : ScalingPart
{
    /// <inheritdoc/>
    public override string Name => "trust-ratio";

    /// <inheritdoc/>
    public override string Summary => "scales the direction to the norm of the parameter (LAMB, 2020)";

    /// <summary>The largest ratio; 0 means no limit.</summary>
    [Description("largest trust ratio; 0: no limit")]
    [Range(0)]
    public double TrustRatioLimit { get; init; }

    /// <summary>Applies the ratio to parameters without weight decay too.</summary>
    [Description("applies the trust ratio also without weight decay")]
    public bool TrustRatioAlways { get; init; }

    internal override bool NeedsWeights => true;

    internal override bool ActsOn(OptimizerOptions options) => TrustRatioAlways || options.WeightDecay != 0;

    internal override void Factor(in ParameterUpdate update, in DirectionNorms norms) =>
        update.Device.Map(new TrustRule(TrustRatioLimit), 1, 1, norms.Weights, norms.Squares, norms.Factor);
}

/// <summary>√(‖p‖² / ‖u‖²), 1 where either is 0.</summary>
internal readonly struct TrustRule(double limit) : IMap3
{
    private readonly float limit = limit > 0 ? (float)limit : float.PositiveInfinity;

    public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L weights, ref L squares, ref L ratio) where L : struct, ILane<L>
    {
        L zero = L.Splat(0), one = L.Splat(1);
        ratio = L.Select(L.Equal(weights, zero), one, L.Select(L.Equal(squares, zero), one, L.Min(L.Splat(limit), L.Sqrt(weights) / L.Sqrt(squares))));
    }
}
