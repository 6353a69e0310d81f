using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="GaLore"/>.</summary>
public sealed record GaLoreOptions : LowRankOptions
{
    /// <summary>Multiplies low-rank updates, but neither weight decay nor updates of other parameters.</summary>
    [Description("factor of low-rank updates")]
    [Range(0, MinimumIsExclusive = true)]
    public double Scale { get; init; } = 0.25;
}

/// <summary>
/// GaLore, gradient low-rank projection (Zhao et al., ICML 2024): Adam in the leading singular directions of the
/// gradient, p -= step · scale · lifted(N).
/// </summary>
/// <remarks>
/// 16 bytes a parameter and two thin products: the projection reads g (4), the lifting product updates p in place (8),
/// its basis and moments are thin. A refresh takes the leading singular vectors (<see cref="ProjectionBasis"/>).
/// </remarks>
public sealed class GaLore : LowRankOptimizer<GaLoreOptions>
{
    /// <inheritdoc/>
    public override string Name => "galore";

    /// <inheritdoc/>
    protected override IEnumerable<StateTensor> DeclareMore(in Projection projection, GaLoreOptions options) =>
        options.ProjectionBasis == ProjectionBasis.Random && projection.IsFull ? throw new UserException("a two-sided projection takes singular vectors; use the svd basis") : [];

    /// <inheritdoc/>
    protected override void Update(in LowRankUpdate update, GaLoreOptions options)
    {
        ParameterUpdate whole = update.Update;
        Block direction = whole.Device.Pool.Rent(update.Low.Block.Length);
        update.Direction(options, direction);
        if (whole.State.Parts.ChangesMove)
        {
            Block lifted = whole.Device.Pool.Rent(whole.Length);
            whole.Device.Gemm(update.Lifted(direction, lifted, (float)options.Scale, 0));
            whole.Move(lifted, Decay.After(options.WeightDecay), update.Scale);
            whole.Device.Pool.Return(lifted);
        }
        else
        {
            whole.Device.Gemm(update.Lifted(direction, whole.WeightValues, -update.StepSize * (float)options.Scale, 1), new LossRule(update.Lost));
        }

        whole.Device.Pool.Return(direction);
    }
}
