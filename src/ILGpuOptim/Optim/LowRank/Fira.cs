using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="Fira"/>.</summary>
public sealed record FiraOptions : LowRankOptions
{
    /// <summary>Multiplies the low-rank update, and (as in the reference) the projection that is subtracted for the residual.</summary>
    [Range(0, MinimumIsExclusive = true)]
    public double Alpha { get; init; } = 1;

    /// <summary>
    /// Subtracts the whole projection for the residual, G - lifted(R), as in the paper. Off by default, as in the reference, which subtracts
    /// <see cref="Alpha"/> times the projection.
    /// </summary>
    public bool WholeResidual { get; init; }

    /// <summary>Turns off the norm-growth limiter.</summary>
    public bool DisableLimiter { get; init; }

    /// <summary>Skips the limiter's state when the residual is zero; see <see cref="ApolloOptions.LimiterIgnoresZero"/>.</summary>
    public bool LimiterIgnoresZero { get; init; }
}

/// <summary>
/// Fira (Chen et al., 2024): GaLore plus the residual of the projection, scaled as Adam scaled the projected gradient.
/// S = (G - alpha · lifted(R)) φ with φ = ‖N‖ / (‖R‖ + 1e-8) along the short side of R, limited to grow 1 % a step;
/// p -= step · (alpha · lifted(N) + S).
/// </summary>
/// <remarks>32 bytes a parameter and three thin products; one m × n scratch for the residual.</remarks>
public sealed class Fira : LowRankOptimizer
{
    /// <inheritdoc/>
    public override string Name => "fira";

    /// <inheritdoc/>
    private protected override IEnumerable<StateTensor> DeclareMore() => [new("scaling_grad", [1])];

    internal override void Check(in Projection projection, LowRankOptions options)
    {
        if (projection.IsFull && projection.Rank != 1)
            throw new UserException("Fira projects one side, or both at rank 1; use std, left or right");
        var (layout, channels) = Channels(projection);
        if (layout != Layout.Scalar && channels != (layout == Layout.PerColumn ? projection.Columns : projection.Rows))
            throw new UserException($"rank {projection.Rank} is too large for this side of the projection; use a smaller rank or std");
    }

    /// <summary>The layout of the factors: one for each column of a wide R, or each row of a tall one.</summary>
    private static (Layout Layout, int Count) Channels(in Projection projection) =>
        projection.IsFull ? (Layout.Scalar, 1)
        : projection.Low[0] < projection.Low[1] ? (Layout.PerColumn, projection.Low[1])
        : (Layout.PerRow, projection.Low[0]);

    internal override void Project(ParameterState state, LowRankOptions options, in Projection projection, Block basis, Block second, Block low)
    {
        if (projection.Rank == 1 && !projection.IsFull)
            RankOne.Project(state.Parameter.Device, projection, Gradient(state).Block, basis, low);
        else
            base.Project(state, options, projection, basis, second, low);
    }

    internal override void Update(ParameterState state, LowRankOptions options, in Projection projection, Block basis, Block second, Block low, float step, float decay)
    {
        var o = (FiraOptions)options;
        Parameter p = state.Parameter;
        Device device = p.Device;
        float alpha = (float)o.Alpha;
        int m = projection.Rows, n = projection.Columns;
        var (layout, channels) = Channels(projection);
        Block direction = device.Pool.Rent(low.Length), residual = device.Pool.Rent(p.Length), half = device.Pool.Rent(projection.IsFull ? n : 1);
        Block factors = device.Pool.Rent(channels), norms = device.Pool.Rent(channels), scalars = device.Pool.Rent(2);
        device.Map(new DirectionRule(new Moments(o)), 1, low.Length, Low(low), state.Blocks[0], state.Blocks[1], direction);
        device.Map(new SquaresRule(), projection.Low[0], projection.Low[1], direction, new Operand(factors, layout));
        device.Map(new SquaresRule(), projection.Low[0], projection.Low[1], Low(low), new Operand(norms, layout));
        device.Map(new FactorRule(), 1, channels, factors, norms);

        // The residual of the unclipped gradient: clipping multiplies it like everything linear in g.
        device.Gemm(projection.Back(device, low, basis, second, half, residual, o.WholeResidual ? -1 : -alpha, 0), new AddRule(), Gradient(state).Block);
        var clipped = new Operand(residual, Factor: UpdateFactor);
        Block squares = scalars.Slice(0, 1), limit = scalars.Slice(1, 1);
        if (!o.DisableLimiter)
        {
            device.Map(new ScaledNormRule(), m, n, clipped, new Operand(factors, layout), Operand.Scalar(squares));
            device.Map(new LimiterRule(state.Step == 1, 1, o.LimiterIgnoresZero), 1, 1, squares, state.Blocks[2], limit);
            device.Map(new ScaleByRule(), 1, channels, factors, Operand.Scalar(limit));
        }

        device.Gemm(projection.Back(device, direction, basis, second, half, p.Data, -step * alpha, 1), new ResidualStep(step, decay), clipped, new Operand(factors, layout));
        foreach (Block block in (ReadOnlySpan<Block>)[direction, residual, half, factors, norms, scalars])
            device.Pool.Return(block);
    }

    /// <summary>p = (p - step · residual · φ) · decay.</summary>
    private readonly struct ResidualStep(float step, float decay) : IMap3
    {
        private readonly float step = step, decay = decay;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L residual, ref L factor) where L : struct, ILane<L> =>
            p = (p - L.Splat(step) * (residual * factor)) * L.Splat(decay);
    }
}
