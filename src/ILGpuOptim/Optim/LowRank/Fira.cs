using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="Fira"/>.</summary>
public sealed record FiraOptions : LowRankOptions
{
    /// <summary>α of the paper. It multiplies the low-rank update, and (as in the reference) the projection that is subtracted for the residual.</summary>
    [Description("factor of low-rank updates, α in the paper")]
    [Range(0, MinimumIsExclusive = true)]
    public double Scale { get; init; } = 1;

    /// <summary>
    /// Subtracts the whole projection for the residual, G - lifted(R), as in the paper. Off by default, as in the reference, which subtracts
    /// <see cref="Scale"/> times the projection.
    /// </summary>
    [Description("subtracts the whole projection for the residual, as in the paper")]
    public bool WholeResidual { get; init; }

    /// <summary>Turns off the norm-growth limiter.</summary>
    [Description("turns off the norm-growth limiter")]
    public bool DisableLimiter { get; init; }

    /// <summary>Skips the limiter's state when the residual is zero; see <see cref="ApolloOptions.LimiterIgnoresZero"/>.</summary>
    [Description("keeps zero gradients from changing the state of the norm-growth limiter")]
    public bool LimiterIgnoresZero { get; init; }
}

/// <summary>
/// Fira (Chen et al., 2024): GaLore plus the residual of the projection, scaled as Adam scaled the projected gradient.
/// S = (G - alpha · lifted(R)) φ with φ = ‖N‖ / (‖R‖ + 1e-8) along the short side of R, limited to grow 1 % a step;
/// p -= step · (alpha · lifted(N) + S).
/// </summary>
/// <remarks>32 bytes a parameter and three thin products; one m × n scratch for the residual.</remarks>
public sealed class Fira : LowRankOptimizer<FiraOptions>
{
    /// <inheritdoc/>
    public override string Name => "fira";

    /// <inheritdoc/>
    protected override IEnumerable<StateTensor> DeclareMore(in Projection projection, FiraOptions options)
    {
        if (projection.IsFull && projection.Rank != 1)
            throw new UserException("Fira projects one side, or both at rank 1; use std, left or right");
        var (layout, channels) = Channels(projection);
        if (layout != Layout.Scalar && channels != (layout == Layout.PerColumn ? projection.Columns : projection.Rows))
            throw new UserException($"rank {projection.Rank} is too large for this side of the projection; use a smaller rank or std");
        return [new("scaling_grad", [1])];
    }

    /// <summary>The layout of the factors: one for each column of a wide R, or each row of a tall one.</summary>
    private static (Layout Layout, int Count) Channels(in Projection projection) =>
        projection.IsFull ? (Layout.Scalar, 1)
        : projection.Low[0] < projection.Low[1] ? (Layout.PerColumn, projection.Low[1])
        : (Layout.PerRow, projection.Low[0]);

    private protected override void Project(in LowRankUpdate update, FiraOptions options)
    {
        if (update.Projection.Rank == 1 && !update.Projection.IsFull)
            RankOne.Project(update);
        else
            update.Project();
    }

    /// <inheritdoc/>
    protected override void Update(in LowRankUpdate update, FiraOptions o)
    {
        ParameterUpdate whole = update.Update;
        Projection projection = update.Projection;
        Device device = whole.Device;
        float alpha = (float)o.Scale;
        int m = projection.Rows, n = projection.Columns;
        var (layout, channels) = Channels(projection);
        Block low = update.Low.Block, direction = device.Pool.Rent(low.Length), residual = device.Pool.Rent(whole.Length);
        Block factors = device.Pool.Rent(channels), norms = device.Pool.Rent(channels), scalars = device.Pool.Rent(2);
        update.Direction(o, direction);
        device.Map(new SquaresRule(), projection.Low[0], projection.Low[1], direction, new Operand(factors, layout));
        device.Map(new SquaresRule(), projection.Low[0], projection.Low[1], update.Low, new Operand(norms, layout));
        device.Map(new LowRankRules.FactorRule(), 1, channels, factors, norms);

        // The residual of the unclipped gradient: clipping multiplies it like everything linear in g.
        device.Gemm(update.Lifted(low, residual, o.WholeResidual ? -1 : -alpha, 0), new AddRule(), whole.Gradient.Block);
        Operand clipped = whole.Gradient with { Block = residual };
        Block squares = scalars.Slice(0, 1), limit = scalars.Slice(1, 1);
        if (!o.DisableLimiter)
        {
            device.Map(new LowRankRules.ScaledNormRule(), m, n, clipped, new Operand(factors, layout), Operand.Scalar(squares));
            device.Map(new LowRankRules.LimiterRule(whole.Step == 1, 1, o.LimiterIgnoresZero), 1, 1, squares, whole.StateValues("scaling_grad"), limit);
            device.Map(new ScaleByRule(), 1, channels, factors, Operand.Scalar(limit));
        }

        if (whole.State.Parts.ChangesMove)
        {
            Block sum = device.Pool.Rent(whole.Length);
            device.Gemm(update.Lifted(direction, sum, alpha, 0), new AddScaledRule(), clipped, new Operand(factors, layout));
            whole.Move(sum, Decay.After(o.WeightDecay), update.Scale);
            device.Pool.Return(sum);
        }
        else
        {
            device.Gemm(update.Lifted(direction, whole.WeightValues, -update.StepSize * alpha, 1), new ResidualStep(update.StepSize, update.Lost), clipped, new Operand(factors, layout));
        }

        foreach (Block block in (ReadOnlySpan<Block>)[direction, residual, factors, norms, scalars])
            device.Pool.Return(block);
    }

    /// <summary>u += residual · φ.</summary>
    private readonly struct AddScaledRule : IMap3
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L residual, ref L factor) where L : struct, ILane<L> => u = L.Fma(residual, factor, u);
    }

    /// <summary>p ← p - step · residual · φ, then p ← p + lost · p.</summary>
    private readonly struct ResidualStep(float step, float lost) : IMap3
    {
        private readonly float step = step;
        private readonly LossRule decay = new(lost);

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L residual, ref L factor) where L : struct, ILane<L>
        {
            p -= L.Splat(step) * (residual * factor);
            decay.Apply(ref p);
        }
    }
}
