using System.ComponentModel;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of GaLore, Fira and APOLLO.</summary>
public record LowRankOptions : AdamOptions
{
    /// <summary>Added to the root of the uncorrected second moment; larger by default than Adam's.</summary>
    public LowRankOptions() => Epsilon = 1e-6;

    /// <summary>The rank; null trains the group with the plain Adam that these optimizers use for everything else.</summary>
    [Description("rank of the projection")]
    [Range(1)]
    public int? Rank { get; init; }

    /// <summary>Number of steps between refreshes of the basis.</summary>
    [Description("steps between updates of the projection")]
    [Range(1)]
    public int UpdateProjectionGap { get; init; } = 200;

    /// <summary>Which side is projected.</summary>
    [Description("side that is projected: std (the short one), reverse_std, left, right or full")]
    public ProjectionType ProjectionType { get; init; }

    /// <summary>The kind of basis.</summary>
    [Description("singular vectors (svd, randomized_svd) or random numbers")]
    public ProjectionBasis ProjectionBasis { get; init; } = ProjectionBasis.Svd;

    /// <summary>Number of power iterations of <see cref="ProjectionBasis.RandomizedSvd"/>; more are more accurate.</summary>
    [Description("power iterations of randomized_svd")]
    [Range(0, 100)]
    public int PowerIterations { get; init; } = 2;

    /// <summary>Enables bias correction of the moments.</summary>
    [Description("enables bias correction of the moments")]
    public bool CorrectBias { get; init; } = true;

    /// <summary>Stores a random basis between refreshes instead of regenerating it each step.</summary>
    [Description("stores a random projection instead of generating it again each step")]
    public bool StoreProjection { get; init; }

    /// <summary>Seeds random bases, together with the parameter's index and the refresh.</summary>
    [Description("seed of random projections")]
    [Range(0)]
    public ulong ProjectionSeed { get; init; } = 1;
}

/// <summary>One update of a matrix by its low-rank gradient R, as its optimizer sees it.</summary>
public readonly struct LowRankUpdate
{
    private readonly Block basis, second, half;

    internal LowRankUpdate(in ParameterUpdate update, in Projection projection, Block basis, Block second, Block low, Block half, float stepSize, double scale, double decay)
    {
        (this.basis, this.second, this.half) = (basis, second, half);
        (Update, Projection, StepSize, Scale, Decay, Lost) = (update, projection, stepSize, scale, (float)(1 - decay), (float)-decay);
        Low = new(low, Factor: update.Gradient.Factor);
    }

    /// <summary>The parameter, its gradient and its state.</summary>
    public ParameterUpdate Update { get; }

    /// <summary>The sizes of R and of its basis.</summary>
    public Projection Projection { get; }

    /// <summary>R, multiplied by the factors of <see cref="ParameterUpdate.Gradient"/>. Its block alone has neither factor.</summary>
    public Operand Low { get; }

    /// <summary>The learning rate with the bias corrections of both moments: lr √(1-β₂ᵗ) / (1-β₁ᵗ).</summary>
    public float StepSize { get; }

    /// <summary>The bias corrections of both moments, √(1-β₂ᵗ) / (1-β₁ᵗ): the factor of directions that move along.</summary>
    public double Scale { get; }

    /// <summary>The factor of decoupled weight decay, 1 - lr · decay.</summary>
    public float Decay { get; }

    /// <summary>What decoupled weight decay adds to each element, as a multiple of it: -lr · decay.</summary>
    internal float Lost { get; }

    /// <summary>The basis P of R = PᵀG, or Q of R = GQᵀ; A where both sides are projected.</summary>
    internal Block Basis => basis;

    /// <summary>Updates the moments of R, <c>exp_avg</c> and <c>exp_avg_sq</c>, and writes Adam's direction N = m / (√v + ε).</summary>
    /// <param name="options">β₁, β₂ and ε.</param>
    /// <param name="direction">N, of R's shape.</param>
    public void Direction(AdamOptions options, Block direction) => Update.Device.Map(
        new LowRankRules.DirectionRule(new LowRankRules.Moments(options)), 1, direction.Length, Low, Update.StateValues("exp_avg"), Update.StateValues("exp_avg_sq"), direction);

    /// <summary>R of the gradient without factors.</summary>
    internal void Project() => Projection.Project(Update.Device, Update.Gradient.Block, basis, second, Low.Block);

    /// <summary>The product that lifts a low-rank matrix of R's shape: target = alpha · lifted + beta · target. It is to be launched with an epilogue.</summary>
    public GemmArguments Lifted(Block low, Block target, float alpha, float beta) => Projection.Back(Update.Device, low, basis, second, half, target, alpha, beta);
}

/// <summary>What tests and memory plans change of a low-rank optimizer.</summary>
internal interface ILowRankOptimizer
{
    /// <summary>
    /// Returns the basis of a refresh (counted from 0) instead of computing it; for replaying recorded trajectories. The
    /// last argument is true for B of a two-sided projection.
    /// </summary>
    Func<ParameterState, long, bool, float[]>? BasisSource { get; set; }

    /// <summary>Skips the computation of singular vectors, which needs no device memory: for memory plans.</summary>
    bool ComputesNoBases { get; set; }
}

/// <summary>
/// Base of GaLore, Fira and APOLLO: Adam moments of a low-rank gradient, whose basis is refreshed at steps 1, gap + 1,
/// 2 gap + 1, …; a refresh does not change the moments. Adam is the form with ε on the uncorrected root, N = m / (√v + ε),
/// step size lr √(1-β₂ᵗ) / (1-β₁ᵗ), and decay p *= 1 - lr · decay after the update.
/// </summary>
/// <typeparam name="TOptions">The options of a group; a <see cref="LowRankOptions.Rank"/> of null trains it by plain Adam.</typeparam>
public abstract class LowRankOptimizer<TOptions> : Optimizer<TOptions>, ILowRankOptimizer where TOptions : LowRankOptions
{
    Func<ParameterState, long, bool, float[]>? ILowRankOptimizer.BasisSource { get; set; }

    bool ILowRankOptimizer.ComputesNoBases { get; set; }

    /// <summary>Declares state in addition to the moments <c>exp_avg</c> and <c>exp_avg_sq</c> of R and the basis.</summary>
    /// <exception cref="UserException">The optimizer does not define these settings.</exception>
    protected virtual IEnumerable<StateTensor> DeclareMore(in Projection projection, TOptions options) => [];

    /// <summary>Writes R of the gradient without factors to <see cref="LowRankUpdate.Low"/>.</summary>
    private protected virtual void Project(in LowRankUpdate update, TOptions options) => update.Project();

    /// <summary>Updates the moments and the parameter.</summary>
    protected abstract void Update(in LowRankUpdate update, TOptions options);

    /// <inheritdoc/>
    protected sealed override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, TOptions options)
    {
        if (options.Rank is null)
            return [StateTensor.Signed("exp_avg", shape), StateTensor.NonNegative("exp_avg_sq", shape)];
        var projection = Projection.Of(shape, options);
        List<StateTensor> state = [StateTensor.Signed("exp_avg", projection.Low), StateTensor.NonNegative("exp_avg_sq", projection.Low), .. DeclareMore(projection, options)];
        if (Stores(options))
            state.Add(new("projection", projection.Basis));
        if (projection.IsFull)
            state.Add(new("projection_b", [projection.Rank, projection.Columns]));
        return state;
    }

    /// <summary>True if the basis is stored; a random one is regenerated from its seed.</summary>
    private static bool Stores(LowRankOptions o) => o.ProjectionBasis != ProjectionBasis.Random || o.StoreProjection;

    /// <inheritdoc/>
    protected sealed override void Update(in ParameterUpdate update, TOptions o)
    {
        double rate = update.LearningRate, scale = o.CorrectBias ? Math.Sqrt(1 - Math.Pow(o.Beta2, update.Step)) / (1 - Math.Pow(o.Beta1, update.Step)) : 1;
        if (o.Rank is null)
        {
            update.Move(new LowRankRules.PlainDirection(new LowRankRules.Moments(o), (float)scale), Decay.After(o.WeightDecay), update["exp_avg"], update["exp_avg_sq"]);
            return;
        }

        MemoryPool pool = update.Device.Pool;
        var projection = Projection.Of(update.Shape, o);
        bool stored = Stores(o);
        Block basis = stored ? update.StateValues("projection") : pool.Rent(projection.Basis[0] * (long)projection.Basis[1]);
        Block second = projection.IsFull ? update.StateValues("projection_b") : basis;
        if (!stored || (update.Step - 1) % o.UpdateProjectionGap == 0)
            Renew(update, o, projection, basis, second);
        Block low = pool.Rent(projection.Low[0] * (long)projection.Low[1]), half = projection.IsFull ? pool.Rent((long)projection.Rank * projection.Columns) : low;
        var projected = new LowRankUpdate(update, projection, basis, second, low, half, (float)(rate * scale), scale, rate * o.WeightDecay);
        Project(projected, o);
        Update(projected, o);
        pool.Return(low);
        if (projection.IsFull)
            pool.Return(half);
        if (!stored)
            pool.Return(basis);
    }

    private void Renew(in ParameterUpdate update, LowRankOptions o, in Projection projection, Block basis, Block second)
    {
        Device device = update.Device;
        long refresh = (update.Step - 1) / o.UpdateProjectionGap;
        ulong seed = o.ProjectionSeed * 0x9E3779B97F4A7C15 + (ulong)update.Index;
        if (((ILowRankOptimizer)this).BasisSource is { } source)
        {
            ParameterState state = update.State;
            device.Upload(Given(basis, false), basis);
            if (projection.IsFull)
                device.Upload(Given(second, true), second);
            float[] Given(Block target, bool isSecond) => source(state, refresh, isSecond) is var given && given.Length == target.Length
                ? given
                : throw new UserException($"{state.Parameter.Name}: the given basis has {given.Length} elements instead of {target.Length}");
        }
        else if (o.ProjectionBasis == ProjectionBasis.Random)
        {
            device.Random(basis, RandomKind.Normal, 1 / MathF.Sqrt(projection.Rank), seed, (ulong)refresh);
        }
        else if (o.ProjectionBasis == ProjectionBasis.RandomizedSvd)
        {
            RandomizedSubspace.Find(device, projection, update.Gradient.Block, o.PowerIterations, seed, (ulong)refresh, basis, second);
        }
        else if (!((ILowRankOptimizer)this).ComputesNoBases)
        {
            var gradient = new float[update.Length];
            device.Download(update.Gradient.Block, gradient);
            var vectors = new SingularVectors(gradient, projection.Rows, projection.Columns, projection.Rank, device);
            device.Upload(projection.IsFull || projection.IsLeft ? vectors.Left : vectors.Right, basis);
            if (projection.IsFull)
                device.Upload(vectors.Right, second);
        }
    }
}
