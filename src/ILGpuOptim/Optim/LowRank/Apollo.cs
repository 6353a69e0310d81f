using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Granularity of the scaling factors.</summary>
public enum ScaleType
{
    /// <summary>One factor for each column of a wide gradient, or each row of a tall one.</summary>
    Channel,

    /// <summary>The whole tensor.</summary>
    Tensor,
}

/// <summary>Settings of <see cref="Apollo"/>; <see cref="Mini"/> is a setting with a name of its own.</summary>
public sealed record ApolloOptions : LowRankOptions
{
    /// <summary>Bases are random.</summary>
    public ApolloOptions() => ProjectionBasis = ProjectionBasis.Random;

    /// <summary>Granularity of the scaling factors.</summary>
    [Description("granularity of the scaling factors: channel or tensor")]
    public ScaleType ScaleType { get; init; }

    /// <summary>Enters as its square root, to make up for the small norms of low ranks.</summary>
    [Description("factor of updates, which enters as its square root")]
    [Range(0, MinimumIsExclusive = true)]
    public double Scale { get; init; } = 1;

    /// <summary>Applies the scale before the limiter instead of after it: the same up to rounding.</summary>
    [Description("applies the scale before the norm-growth limiter, which changes rounding only")]
    public bool ScaleFront { get; init; }

    /// <summary>Turns off the norm-growth limiter.</summary>
    [Description("turns off the norm-growth limiter")]
    public bool DisableLimiter { get; init; }

    /// <summary>
    /// Skips the limiter's state when a gradient is zero. Off by default, as in the reference, which stores a norm of zero and then
    /// hardly changes the parameter for some two thousand steps.
    /// </summary>
    [Description("keeps zero gradients from changing the state of the norm-growth limiter")]
    public bool LimiterIgnoresZero { get; init; }

    /// <summary>APOLLO-Mini: rank 1, one factor for the tensor, scale 128.</summary>
    public static ApolloOptions Mini => new() { Rank = 1, ScaleType = ScaleType.Tensor, Scale = 128 };
}

/// <summary>
/// APOLLO, approximated gradient scaling (Zhu et al., MLSys 2025). Adam runs on a random projection R of the gradient
/// only to learn how large an update should be: φ = ‖N‖ / (‖R‖ + 1e-8) for each channel or the tensor, and
/// p -= step · √scale · G φ with the full-rank gradient, limited to grow 1 % a step. There is no back-projection.
/// </summary>
/// <remarks>
/// 20 bytes a parameter: the projection and the limiter read g (4 + 4), the update reads g and updates p (12); and a product
/// of 2 · rank operations a parameter, which outweighs them from rank 32 or so on. With rank 1 one pass makes the projection and
/// the limiter's norms: 16 bytes. State: 8 · rank · max(m, n) + 4 bytes; the basis is regenerated from its seed each step.
/// </remarks>
public sealed class Apollo : LowRankOptimizer<ApolloOptions>
{
    /// <summary>Names the optimizer APOLLO-Mini in messages; <see cref="ApolloOptions.Mini"/> are its options.</summary>
    public bool IsMini { get; init; }

    /// <summary>Σg² of the current parameter's channels, if its projection has computed them.</summary>
    private Block? gradientSquares;

    /// <inheritdoc/>
    public override string Name => IsMini ? "apollo-mini" : "apollo";

    /// <inheritdoc/>
    protected override IEnumerable<StateTensor> DeclareMore(in Projection projection, ApolloOptions options)
    {
        if (projection.IsFull && options.ProjectionBasis == ProjectionBasis.Random)
            throw new UserException("a two-sided projection takes singular vectors; use the svd basis");
        bool wide = projection.Rows < projection.Columns;
        if (options.ScaleType == ScaleType.Channel && (wide ? projection.Low[1] != projection.Columns : projection.Low[0] != projection.Rows))
            throw new UserException("channel scaling needs the short side projected; use the std projection or tensor scaling");
        return [new("scaled_grad", [1])];
    }

    private protected override void Project(in LowRankUpdate update, ApolloOptions options)
    {
        gradientSquares = null;
        Projection projection = update.Projection;
        if (projection.Rank == 1 && options.ScaleType == ScaleType.Channel && !projection.IsFull)
            RankOne.Project(update);
        else if (projection.Rank != 1 || projection.IsFull)
            update.Project();
        else
            ProjectWithNorm(update);
    }

    /// <summary>The projection to one dimension, and Σg² for the limiter in the same pass.</summary>
    private void ProjectWithNorm(in LowRankUpdate update)
    {
        Device device = update.Update.Device;
        Projection projection = update.Projection;
        Layout along = projection.IsLeft ? Layout.PerRow : Layout.PerColumn, across = projection.IsLeft ? Layout.PerColumn : Layout.PerRow;
        Block squares = device.Pool.Rent(1);
        device.Map(new RankOneRule(), projection.Rows, projection.Columns,
            update.Update.Gradient.Block, new Operand(update.Basis, along), new Operand(update.Low.Block, across), Operand.Scalar(squares));
        gradientSquares = squares;
    }

    private static (Layout Layout, int Count) Channels(ApolloOptions o, in Projection projection) =>
        o.ScaleType == ScaleType.Tensor ? (Layout.Scalar, 1)
        : projection.Rows < projection.Columns ? (Layout.PerColumn, projection.Columns)
        : (Layout.PerRow, projection.Rows);

    /// <inheritdoc/>
    protected override void Update(in LowRankUpdate update, ApolloOptions o)
    {
        ParameterUpdate whole = update.Update;
        Projection projection = update.Projection;
        Device device = whole.Device;
        int m = projection.Rows, n = projection.Columns;
        var (layout, channels) = Channels(o, projection);
        Block factors = device.Pool.Rent(channels), norms = device.Pool.Rent(channels), scalars = device.Pool.Rent(2);
        device.Map(new LowRankRules.NormsRule(new LowRankRules.Moments(o)), projection.Low[0], projection.Low[1],
            update.Low, whole.StateValues("exp_avg"), whole.StateValues("exp_avg_sq"), new Operand(factors, layout), new Operand(norms, layout));
        device.Map(new LowRankRules.FactorRule(), 1, channels, factors, norms);
        float scale = (float)Math.Sqrt(o.Scale);
        if (!o.DisableLimiter)
        {
            Block squares = scalars.Slice(0, 1), limit = scalars.Slice(1, 1);
            if (gradientSquares is { } sums)
                device.Map(new ChannelNormRule(), 1, channels, whole.Gradient with { Block = factors }, sums, Operand.Scalar(squares));
            else
                device.Map(new LowRankRules.ScaledNormRule(), m, n, whole.Gradient, new Operand(factors, layout), Operand.Scalar(squares));
            device.Map(new LowRankRules.LimiterRule(whole.Step == 1, o.ScaleFront ? scale : 1, o.LimiterIgnoresZero), 1, 1, squares, whole.StateValues("scaled_grad"), limit);
            device.Map(new ScaleByRule(), 1, channels, factors, Operand.Scalar(limit));
        }

        var motion = new Motion(whole, Decay.After(o.WeightDecay), update.Scale * scale, isWhole: true);
        motion.Map(new ScaledGradient(), 0, m, n, whole.Gradient, new Operand(factors, layout));
        motion.End();
        if (gradientSquares is { } done)
            device.Pool.Return(done);
        device.Pool.Return(factors);
        device.Pool.Return(norms);
        device.Pool.Return(scalars);
    }

    /// <summary>Sums of g · direction, the projection to one dimension, and of g².</summary>
    private readonly struct RankOneRule : IMap4
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Sum, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L direction, ref L low, ref L squares) where L : struct, ILane<L>
        {
            low = g * direction;
            squares = g * g;
        }
    }

    /// <summary>Σ(Gφ)² from the Σg² of the channels.</summary>
    private readonly struct ChannelNormRule : IMap3
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L factor, ref L squares, ref L sum) where L : struct, ILane<L> => sum = factor * factor * squares;
    }

    /// <summary>u = g φ.</summary>
    private readonly struct ScaledGradient : IMap3
    {
        public static Access Access => Access.Of(Slot.Write, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L g, ref L factor) where L : struct, ILane<L> => u = g * factor;
    }
}
