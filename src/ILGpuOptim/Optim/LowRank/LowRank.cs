using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of GaLore, Fira and APOLLO.</summary>
public record LowRankOptions : AdamOptions
{
    /// <summary>Added to the root of the uncorrected second moment; larger by default than Adam's.</summary>
    public LowRankOptions() => Epsilon = 1e-6;

    /// <summary>The rank; 0 trains the group with the plain Adam that these optimizers use for everything else.</summary>
    [Range(0)]
    public int Rank { get; init; }

    /// <summary>Number of steps between refreshes of the basis.</summary>
    [Range(1)]
    public int UpdateProjectionGap { get; init; } = 200;

    /// <summary>Which side is projected.</summary>
    public ProjectionType ProjectionType { get; init; }

    /// <summary>The kind of basis.</summary>
    public ProjectionBasis Basis { get; init; } = ProjectionBasis.Svd;

    /// <summary>Number of power iterations of <see cref="ProjectionBasis.RandomizedSvd"/>; more are more accurate.</summary>
    [Range(0, 100)]
    public int PowerIterations { get; init; } = 2;

    /// <summary>Enables bias correction of the moments.</summary>
    public bool CorrectBias { get; init; } = true;

    /// <summary>Stores a random basis between refreshes instead of regenerating it each step.</summary>
    public bool StoreProjection { get; init; }

    /// <summary>Seeds random bases, together with the parameter's index and the refresh.</summary>
    [Range(0)]
    public ulong Seed { get; init; } = 1;
}

/// <summary>
/// Base of GaLore, Fira and APOLLO: Adam moments of a low-rank gradient, whose basis is refreshed at steps 1, gap + 1,
/// 2 gap + 1, …; a refresh does not change the moments. Adam is the form with ε on the uncorrected root, N = m / (√v + ε),
/// step size lr √(1-β₂ᵗ) / (1-β₁ᵗ), and decay p *= 1 - lr · decay after the update.
/// </summary>
public abstract class LowRankOptimizer : Optimizer
{
    private protected LowRankOptimizer()
    {
    }

    /// <summary>
    /// Returns the basis of a refresh (counted from 0) instead of computing it; for replaying recorded trajectories. The
    /// last argument is true for B of a two-sided projection.
    /// </summary>
    internal Func<ParameterState, long, bool, float[]>? BasisSource { get; set; }

    /// <summary>Skips the computation of singular vectors, which needs no device memory: for memory plans.</summary>
    internal bool ComputesNoBases { get; set; }

    /// <summary>State tensors in addition to moments and basis.</summary>
    private protected virtual IEnumerable<StateTensor> DeclareMore() => [];

    /// <summary>Throws if the optimizer does not define these settings.</summary>
    internal virtual void Check(in Projection projection, LowRankOptions options)
    {
    }

    /// <inheritdoc/>
    public override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, OptimizerOptions options)
    {
        var o = (LowRankOptions)options;
        if (o.Rank == 0)
            return [StateTensor.Signed("exp_avg", shape), StateTensor.NonNegative("exp_avg_sq", shape)];
        var projection = Projection.Of(shape, o.ProjectionType, o.Basis, o.Rank);
        Check(projection, o);
        List<StateTensor> state = [StateTensor.Signed("exp_avg", projection.Low), StateTensor.NonNegative("exp_avg_sq", projection.Low), .. DeclareMore()];
        if (Stores(o))
            state.Add(new("projection", projection.Basis));
        if (projection.IsFull)
            state.Add(new("projection_b", [projection.Rank, projection.Columns]));
        return state;
    }

    /// <summary>True if the basis is stored; a random one is regenerated from its seed.</summary>
    private static bool Stores(LowRankOptions o) => o.Basis != ProjectionBasis.Random || o.StoreProjection;

    /// <inheritdoc/>
    protected override bool UpdatesNarrowState(ParameterState state) => ((LowRankOptions)state.Options).Rank == 0;

    /// <inheritdoc/>
    protected override bool UpdatesNarrowWeights(ParameterState state) => ((LowRankOptions)state.Options).Rank == 0;

    /// <inheritdoc/>
    protected override void Update(ParameterState state, double learningRate)
    {
        var o = (LowRankOptions)state.Options;
        Parameter p = state.Parameter;
        double step = o.CorrectBias ? learningRate * Math.Sqrt(1 - Math.Pow(o.Beta2, state.Step)) / (1 - Math.Pow(o.Beta1, state.Step)) : learningRate;
        float decay = o.WeightDecay > 0 ? (float)(1 - learningRate * o.WeightDecay) : 1;
        if (o.Rank == 0)
        {
            var (rows, columns) = state.Rectangle;
            p.Device.Map(new PlainStep(new Moments(o), (float)step, decay), rows, columns, state.Weights, Gradient(state), state.At(0), state.At(1));
            return;
        }

        var projection = Projection.Of(p.Shape, o.ProjectionType, o.Basis, o.Rank);
        bool stored = Stores(o);
        Block basis = stored ? state["projection"] : p.Device.Pool.Rent(projection.Basis[0] * (long)projection.Basis[1]);
        Block second = projection.IsFull ? state["projection_b"] : basis;
        if (!stored || (state.Step - 1) % o.UpdateProjectionGap == 0)
            Renew(state, o, projection, basis, second);
        Block low = p.Device.Pool.Rent(projection.Low[0] * (long)projection.Low[1]);
        Project(state, o, projection, basis, second, low);
        Update(state, o, projection, basis, second, low, (float)step, decay);
        p.Device.Pool.Return(low);
        if (!stored)
            p.Device.Pool.Return(basis);
    }

    /// <summary>R of the unclipped gradient.</summary>
    internal virtual void Project(ParameterState state, LowRankOptions options, in Projection projection, Block basis, Block second, Block low) =>
        projection.Project(state.Parameter.Device, Gradient(state).Block, basis, second, low);

    /// <summary>
    /// Updates the parameter. <paramref name="low"/> is R of the unclipped gradient: read it with <see cref="Optimizer.UpdateFactor"/>.
    /// </summary>
    internal abstract void Update(ParameterState state, LowRankOptions options, in Projection projection, Block basis, Block second, Block low, float step, float decay);

    private void Renew(ParameterState state, LowRankOptions o, in Projection projection, Block basis, Block second)
    {
        Device device = state.Parameter.Device;
        long refresh = (state.Step - 1) / o.UpdateProjectionGap;
        if (BasisSource is { } source)
        {
            device.Upload(Given(basis, false), basis);
            if (projection.IsFull)
                device.Upload(Given(second, true), second);
            float[] Given(Block target, bool isSecond) => source(state, refresh, isSecond) is var given && given.Length == target.Length
                ? given
                : throw new UserException($"{state.Parameter.Name}: the given basis has {given.Length} elements instead of {target.Length}");
        }
        else if (o.Basis == ProjectionBasis.Random)
        {
            device.Random(basis, RandomKind.Normal, 1 / MathF.Sqrt(projection.Rank), SeedOf(state, o), (ulong)refresh);
        }
        else if (o.Basis == ProjectionBasis.RandomizedSvd)
        {
            RandomizedSubspace.Find(device, projection, Gradient(state).Block, o.PowerIterations, SeedOf(state, o), (ulong)refresh, basis, second);
        }
        else if (!ComputesNoBases)
        {
            var gradient = new float[state.Parameter.Length];
            device.Download(Gradient(state).Block, gradient);
            var vectors = new SingularVectors(gradient, projection.Rows, projection.Columns, projection.Rank);
            device.Upload(projection.IsFull || projection.IsLeft ? vectors.Left : vectors.Right, basis);
            if (projection.IsFull)
                device.Upload(vectors.Right, second);
        }
    }

    private static ulong SeedOf(ParameterState state, LowRankOptions o) => o.Seed * 0x9E3779B97F4A7C15 + (ulong)state.Index;

    /// <summary>R as an operand that is clipped as it is read.</summary>
    private protected Operand Low(Block low) => new(low, Factor: UpdateFactor);

    /// <summary>Updates m and v; N = m / (√v + ε).</summary>
    internal readonly struct Moments(AdamOptions o)
    {
        private readonly float beta1 = (float)o.Beta1, rest1 = (float)(1 - o.Beta1), beta2 = (float)o.Beta2, rest2 = (float)(1 - o.Beta2), epsilon = (float)o.Epsilon;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Direction<L>(L g, ref L m, ref L v) where L : struct, ILane<L>
        {
            m = L.Fma(L.Splat(beta1), m, L.Splat(rest1) * g);
            v = L.Fma(L.Splat(beta2), v, L.Splat(rest2) * g * g);
            return m / (L.Sqrt(v) + L.Splat(epsilon));
        }
    }

    /// <summary>p = (p - step · N) · decay.</summary>
    private readonly struct PlainStep(Moments moments, float step, float decay) : IMap4
    {
        private readonly Moments moments = moments;
        private readonly float step = step, decay = decay;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Update, Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L g, ref L m, ref L v) where L : struct, ILane<L> =>
            p = (p - L.Splat(step) * moments.Direction(g, ref m, ref v)) * L.Splat(decay);
    }

    /// <summary>Writes N.</summary>
    internal readonly struct DirectionRule(Moments moments) : IMap4
    {
        private readonly Moments moments = moments;

        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Update, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L r, ref L m, ref L v, ref L n) where L : struct, ILane<L> => n = moments.Direction(r, ref m, ref v);
    }

    /// <summary>Sums of N² and R² over the axes that the last operands lack.</summary>
    internal readonly struct NormsRule(Moments moments) : IMap5
    {
        private readonly Moments moments = moments;

        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Update, Slot.Sum, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L r, ref L m, ref L v, ref L directions, ref L gradients) where L : struct, ILane<L>
        {
            L n = moments.Direction(r, ref m, ref v);
            directions = n * n;
            gradients = r * r;
        }
    }

    /// <summary>φ = ‖N‖ / (‖R‖ + 1e-8), in place of ‖N‖².</summary>
    internal readonly struct FactorRule : IMap2
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L directions, ref L gradients) where L : struct, ILane<L> =>
            directions = L.Sqrt(directions) / (L.Sqrt(gradients) + L.Splat(1e-8f));
    }

    /// <summary>Sum of (G φ)².</summary>
    internal readonly struct ScaledNormRule : IMap3
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L factor, ref L sum) where L : struct, ILane<L>
        {
            L scaled = g * factor;
            sum = scaled * scaled;
        }
    }

    /// <summary>
    /// The norm-growth limiter: the norm may exceed the previous one by 1 % at most. Reads Σ(Gφ)², updates the previous norm and
    /// writes the factor of the update.
    /// </summary>
    /// <param name="isFirst">True if there is no previous norm.</param>
    /// <param name="front">Factor of the norm.</param>
    /// <param name="skipZero">True if a zero norm does not replace the previous one, which would freeze the parameter for many steps.</param>
    internal readonly struct LimiterRule(bool isFirst, float front, bool skipZero) : IMap3
    {
        private const float Growth = 1.01f;
        private readonly float front = front;
        private readonly int isFirst = isFirst ? 1 : 0, skipZero = skipZero ? 1 : 0;

        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L squares, ref L previous, ref L factor) where L : struct, ILane<L>
        {
            L norm = L.Sqrt(squares) * L.Splat(front);
            L limit = L.Max(L.Splat(Growth), norm / (previous + L.Splat(1e-8f))) / L.Splat(Growth);
            if (isFirst != 0)
                limit = L.Splat(1);
            if (skipZero != 0)
                limit = L.Select(L.Equal(previous, L.Splat(0)), L.Splat(1), limit);
            L limited = norm / limit;
            factor = L.Splat(1) / limit;
            previous = skipZero != 0 ? L.Select(L.Equal(norm, L.Splat(0)), previous, limited) : limited;
        }
    }
}
