using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Implementations of <see cref="Dion"/>, which differ in the side that they project and in what a zero momentum leaves.</summary>
public enum DionForm
{
    /// <summary>The full class: the basis belongs to the short side, and a momentum of zeros keeps it.</summary>
    Reference,

    /// <summary>The simple class: the basis belongs to the columns, and a momentum of zeros makes it zero, so that the next basis begins with unit vectors.</summary>
    Simple,
}

/// <summary>What trains the parameters that Dion does not orthogonalise.</summary>
public enum DionAuxiliary
{
    /// <summary>AdamW.</summary>
    Adamw,

    /// <summary>Lion.</summary>
    Lion,
}

/// <summary>Settings of <see cref="Dion"/>.</summary>
public sealed record DionOptions : AdamOptions
{
    /// <summary>The learning rate and β₂ are those of the reference.</summary>
    public DionOptions() => (LearningRate, Beta2) = (0.01, 0.95);

    /// <summary>Orthogonalises the updates of the parameter; otherwise <see cref="Auxiliary"/> trains it.</summary>
    [DerivedOption]
    public bool Orthogonalises { get; init; } = true;

    /// <summary>The share of the captured part of the momentum that a step keeps: its decay rate μ.</summary>
    [Description("decay rate of the captured part of the momentum")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Momentum { get; init; } = 0.95;

    /// <summary>The implementation to follow.</summary>
    [Description("details of the full class (reference) or of the simple one (simple)")]
    public DionForm Variant { get; init; }

    /// <summary>The rank, at most the short side; 0 takes it from <see cref="RankFraction"/>.</summary>
    [Description("rank of the orthogonalised update; 0: from rank_fraction")]
    [Range(0)]
    public int Rank { get; init; }

    /// <summary>The rank as a fraction of the short side, rounded up to a multiple of <see cref="RankMultiple"/>.</summary>
    [Description("rank as a fraction of the short side")]
    [Range(0, 1, MinimumIsExclusive = true)]
    public double RankFraction { get; init; } = 1;

    /// <summary>The rank is rounded up to a multiple of this.</summary>
    [Description("the rank from rank_fraction is rounded up to a multiple of this")]
    [Range(1)]
    public int RankMultiple { get; init; } = 1;

    /// <summary>Power iterations of a step.</summary>
    [Description("power iterations in each step")]
    [Range(1, 100)]
    public int PowerRounds { get; init; } = 1;

    /// <summary>Scaling of the update.</summary>
    [Description("size of updates: original, √(rows / columns); or moonlight, that of AdamW")]
    public MuonScaling Scaling { get; init; }

    /// <summary>Keeps the basis when the momentum is zero, also in <see cref="DionForm.Simple"/>.</summary>
    [Description("keeps the basis when the momentum is zero, as the full class does")]
    public bool KeepsBasis { get; init; }

    /// <summary>What trains all other parameters.</summary>
    [Description("optimizer of the parameters that are not orthogonalised: adamw or lion")]
    public DionAuxiliary Auxiliary { get; init; }

    /// <summary>Seeds the first basis, together with the parameter's index.</summary>
    [Description("seed of the first basis")]
    [Range(0)]
    public ulong BasisSeed { get; init; } = 1;

    /// <summary>The rank of an m × n matrix.</summary>
    internal int RankOf(int m, int n)
    {
        int small = Math.Min(m, n);
        return Math.Min(small, Rank > 0 ? Rank : checked(RankMultiple * (int)Math.Ceiling(RankFraction * small / RankMultiple)));
    }
}

/// <summary>
/// Dion (Ahn et al., "Dion: Distributed orthonormalized updates", 2025): M ← M + g; one power iteration P = orthonormal columns of BQ, R = BᵀP, from the basis Q of the
/// last step, where B is M or, for a wide matrix, Mᵀ; error feedback M ← M - (1-μ) P Rᵀ; Q ← R with columns of length one; p = p (1 - lr · decay) - lr √(rows / columns) P Qᵀ.
/// Embeddings, heads and vectors belong to the auxiliary optimizer.
/// </summary>
/// <remarks>
/// State 4mn + 4 r min(m, n) bytes. Four products of rank r; the orthonormal columns come from <see cref="BlockQr"/>, which copies matrices of at most 64 × 64 to the
/// host in each step.
/// </remarks>
public sealed class Dion : Optimizer<DionOptions>, IBasisOptimizer
{
    private readonly BlockQr orthonormal = new();

    Func<ParameterState, long, int, float[]>? IBasisOptimizer.BasisSource { get; set; }

    Action<ParameterState, long, int, float[]>? IBasisOptimizer.BasisComputed { get; set; }

    bool IBasisOptimizer.ComputesNoBases { get; set; }

    /// <inheritdoc/>
    public override string Name => "dion";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, DionOptions options)
    {
        if (!options.Orthogonalises)
            return options.Auxiliary == DionAuxiliary.Lion ? [StateTensor.Signed("momentum", shape)] : [StateTensor.Signed("momentum", shape), StateTensor.NonNegative("variance", shape)];
        if (shape.Count != 2)
            throw new UserException("Dion orthogonalises matrices only; leave this parameter to the auxiliary optimizer");
        int m = shape[0], n = shape[1];
        return [StateTensor.Signed("momentum", shape), new("Q", [IsTransposed(m, n, options) ? m : n, options.RankOf(m, n)])];
    }

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, DionOptions o)
    {
        if (!o.Orthogonalises && o.Auxiliary == DionAuxiliary.Lion)
            update.Move(new Lion.Direction((float)o.Beta1, (float)(1 - o.Beta1), (float)o.Beta2, (float)(1 - o.Beta2)), Decay.Before(o.WeightDecay), update["momentum"]);
        else if (!o.Orthogonalises)
            update.Move(AdamDirection.Corrected(o, update.Step), Decay.Before(o.WeightDecay), update["momentum"], update["variance"]);
        else
            Orthogonalise(update, o);
    }

    private void Orthogonalise(in ParameterUpdate update, DionOptions o)
    {
        Device device = update.Device;
        MemoryPool pool = device.Pool;
        int m = update.Shape[0], n = update.Shape[1], r = o.RankOf(m, n);
        bool transposed = IsTransposed(m, n, o), keeps = o.KeepsBasis || o.Variant == DionForm.Reference;
        int height = transposed ? n : m, width = transposed ? m : n;
        Block momentum = update.StateValues("momentum"), q = update.StateValues("Q");
        if (update.Step == 1)
            Begin(update, o, q);
        Block axes = pool.Rent((long)r * width), p = pool.Rent((long)r * height), image = pool.Rent((long)width * r), squares = pool.Rent(1), norms = pool.Rent(r);
        update.Map(new AccumulateRule(), momentum, update.Gradient, Operand.Scalar(squares));
        device.CopyStrided(q, 0, axes, 0, [new(r, 1, width), new(width, r, 1)]);
        for (int i = 0; i < o.PowerRounds; i++)
        {
            // Orthonormal columns of BQ do not change with a triangular factor of Q, and lose fewer digits when those of Q are orthonormal. A basis of zeros gives unit vectors P.
            orthonormal.Orthonormalise(device, axes, r, width, keepsZero: true);
            device.Gemm(new GemmArguments(axes, momentum, p, r, height, width) { TransposeB = !transposed });
            orthonormal.Orthonormalise(device, p, r, height);
            if (i < o.PowerRounds - 1)
                device.Gemm(new GemmArguments(p, momentum, axes, r, width, height) { TransposeB = transposed });
        }

        device.Gemm(new GemmArguments(momentum, p, image, width, r, height) { TransposeA = !transposed, TransposeB = true });

        float feedback = (float)(o.Momentum - 1);
        double size = Size(m, n, r, o.Scaling);
        device.Gemm(Outer(p, image, momentum) with { Alpha = feedback, Beta = 1 });
        device.Map(new SquaresRule(), width, r, image, Operand.PerColumn(norms));
        device.Map(new BasisRule((float)o.Epsilon, keeps), width, r, image, q, Operand.PerColumn(norms), Operand.Scalar(squares));
        if (update.State.Parts.ChangesMove)
        {
            Block direction = pool.Rent(update.Length);
            device.Gemm(Outer(p, image, direction));
            update.Move(direction, Decay.Before(o.WeightDecay), size);
            pool.Return(direction);
        }
        else
        {
            if (o.WeightDecay != 0)
                update.Map(new ScaleRule((float)(1 - update.LearningRate * o.WeightDecay)), update.WeightValues);
            device.Gemm(Outer(p, image, update.WeightValues) with { Alpha = (float)(-update.LearningRate * size), Beta = 1 });
        }

        foreach (Block block in (ReadOnlySpan<Block>)[axes, p, image, squares, norms])
            pool.Return(block);

        GemmArguments Outer(Block left, Block right, Block target) => transposed
            ? new GemmArguments(right, left, target, m, n, r)
            : new GemmArguments(left, right, target, m, n, r) { TransposeA = true, TransposeB = true };
    }

    private void Begin(in ParameterUpdate update, DionOptions o, Block q)
    {
        if (((IBasisOptimizer)this).BasisSource is { } source)
            update.Device.Upload(IBasisOptimizer.Given(source, update, 0, 0, q.Length), q);
        else
            update.Device.Random(q, RandomKind.Normal, 1, o.BasisSeed * 0x9E3779B97F4A7C15 + (ulong)update.Index, 0);
    }

    private static bool IsTransposed(int m, int n, DionOptions o) => o.Variant == DionForm.Reference && m < n;

    /// <summary>The factor of P Qᵀ, whose root mean square is √(r / mn).</summary>
    private static double Size(int m, int n, int r, MuonScaling scaling) => scaling == MuonScaling.Moonlight ? 0.2 * Math.Sqrt((double)m * n / r) : Math.Sqrt((double)m / n);

    /// <summary>M += g; ΣM².</summary>
    private readonly struct AccumulateRule : IMap3
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L m, ref L g, ref L squares) where L : struct, ILane<L>
        {
            m += g;
            squares = m * m;
        }
    }

    /// <summary>R and Q become R / (length of the column + ε). If the momentum is zero and the basis is kept, R becomes 0 and Q stays.</summary>
    private readonly struct BasisRule(float epsilon, bool keeps) : IMap4
    {
        private readonly float epsilon = epsilon, keeps = keeps ? 1 : 0;

        public static Access Access => Access.Of(Slot.Update, Slot.Update, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L r, ref L q, ref L norm, ref L squares) where L : struct, ILane<L>
        {
            L zero = L.Splat(0), rests = L.Select(L.Equal(squares, zero), L.Splat(keeps), zero), resting = L.Less(zero, rests);
            r = L.Select(resting, zero, r / (L.Sqrt(norm) + L.Splat(epsilon)));
            q = L.Select(resting, q, r);
        }
    }
}
