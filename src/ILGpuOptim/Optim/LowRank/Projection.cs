using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>Which side of a gradient is projected.</summary>
public enum ProjectionType
{
    /// <summary>The short side: columns of a tall or square matrix, rows of a wide one.</summary>
    Std,

    /// <summary>The long side.</summary>
    ReverseStd,

    /// <summary>Rows.</summary>
    Left,

    /// <summary>Columns.</summary>
    Right,

    /// <summary>Both sides; GaLore only.</summary>
    Full,
}

/// <summary>The kind of a projection's basis.</summary>
public enum ProjectionBasis
{
    /// <summary>Normal random numbers of variance 1 / rank, regenerated from a seed when needed.</summary>
    Random,

    /// <summary>The leading singular vectors of the gradient, exactly, computed on the host.</summary>
    Svd,

    /// <summary>Approximate leading singular vectors, by randomized subspace iteration on the device.</summary>
    RandomizedSvd,
}

/// <summary>The sizes of a low-rank gradient R and of its basis.</summary>
public readonly record struct Projection
{
    private Projection(int rows, int columns, int rank, bool isLeft, bool isFull) => (Rows, Columns, Rank, IsLeft, IsFull) = (rows, columns, rank, isLeft, isFull);

    /// <summary>Rows m of the gradient.</summary>
    public int Rows { get; }

    /// <summary>Columns n of the gradient.</summary>
    public int Columns { get; }

    /// <summary>Columns, or rows, of the basis.</summary>
    public int Rank { get; }

    /// <summary>True for R = Pᵀ G with P m × rank; false for R = G Qᵀ with Q rank × n.</summary>
    public bool IsLeft { get; internal init; }

    /// <summary>True if both sides are projected: R = Aᵀ G Bᵀ.</summary>
    public bool IsFull { get; internal init; }

    /// <summary>The projection of a matrix.</summary>
    /// <exception cref="UserException">The shape is not that of a matrix.</exception>
    public static Projection Of(IReadOnlyList<int> shape, LowRankOptions options) => Of(shape, options.ProjectionType, options.ProjectionBasis, options.Rank ?? throw new ArgumentException("without a rank there is no projection", nameof(options)));

    internal static Projection Of(IReadOnlyList<int> shape, ProjectionType type, ProjectionBasis basis, int rank)
    {
        if (shape.Count != 2)
            throw new UserException("a low-rank group takes matrices only; leave this parameter out of it");
        int m = shape[0], n = shape[1];

        // There are as many singular vectors as the short side is long; the number of random directions has no limit.
        int used = basis != ProjectionBasis.Random ? Math.Min(rank, MaximumRank(shape)) : rank;
        bool left = type switch
        {
            ProjectionType.Std => m < n,
            ProjectionType.ReverseStd => m >= n,
            ProjectionType.Left => true,
            _ => false,
        };
        return new(m, n, used, left, type == ProjectionType.Full);
    }

    /// <summary>The largest rank of a matrix: its short side.</summary>
    internal static int MaximumRank(IReadOnlyList<int> shape) => shape.Min();

    /// <summary>A rank, at most the largest; null for an empty matrix, which has none.</summary>
    internal static int? Limited(int? rank, IReadOnlyList<int> shape) => MaximumRank(shape) is > 0 and var most && rank is { } wanted ? Math.Min(wanted, most) : null;

    /// <summary>The shape of R.</summary>
    public int[] Low => IsFull ? [Rank, Rank] : IsLeft ? [Rank, Columns] : [Rows, Rank];

    /// <summary>The shape of the one basis, or of A.</summary>
    public int[] Basis => IsFull || IsLeft ? [Rows, Rank] : [Rank, Columns];

    /// <summary>R from the gradient.</summary>
    internal void Project(Device device, Block gradient, Block basis, Block second, Block low)
    {
        if (IsFull)
        {
            Block half = device.Pool.Rent((long)Rank * Columns);
            device.Gemm(new GemmArguments(basis, gradient, half, Rank, Columns, Rows) { TransposeA = true });
            device.Gemm(new GemmArguments(half, second, low, Rank, Rank, Columns) { TransposeB = true });
            device.Pool.Return(half);
        }
        else if (IsLeft)
        {
            device.Gemm(new GemmArguments(basis, gradient, low, Rank, Columns, Rows) { TransposeA = true });
        }
        else
        {
            device.Gemm(new GemmArguments(gradient, basis, low, Rows, Rank, Columns) { TransposeB = true });
        }
    }

    /// <summary>
    /// The product that lifts a low-rank matrix: target = alpha · lifted + beta · target. When both sides are projected,
    /// half is rank × columns of scratch.
    /// </summary>
    internal GemmArguments Back(Device device, Block low, Block basis, Block second, Block half, Block target, float alpha, float beta)
    {
        if (!IsFull)
        {
            return IsLeft
                ? new GemmArguments(basis, low, target, Rows, Columns, Rank) { Alpha = alpha, Beta = beta }
                : new GemmArguments(low, basis, target, Rows, Columns, Rank) { Alpha = alpha, Beta = beta };
        }

        device.Gemm(new GemmArguments(low, second, half, Rank, Columns, Rank));
        return new GemmArguments(basis, half, target, Rows, Columns, Rank) { Alpha = alpha, Beta = beta };
    }
}
