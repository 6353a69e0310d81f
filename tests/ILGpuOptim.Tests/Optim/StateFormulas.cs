namespace ILGpuOptim.Tests.Optim;

/// <summary>
/// The bytes of f32 state that each optimizer's method implies, written down without looking at its declaration. A matrix is m × n, k its
/// short side and K its long one; a vector has n numbers; of more sizes, the leading ones are a batch of matrices.
/// </summary>
internal static class StateFormulas
{
    /// <summary>Bytes by the optimizer's name, of a shape and a rank.</summary>
    public static readonly IReadOnlyDictionary<string, Func<int[], int, long>> ByName = new Dictionary<string, Func<int[], int, long>>
    {
        ["sgd"] = (shape, _) => 4 * Count(shape),
        ["adagrad"] = (shape, _) => 4 * Count(shape),
        ["rmsprop"] = (shape, _) => 4 * Count(shape),
        ["adam"] = (shape, _) => 8 * Count(shape),
        ["adamw"] = (shape, _) => 8 * Count(shape),
        ["nadam"] = (shape, _) => 8 * Count(shape),
        ["radam"] = (shape, _) => 8 * Count(shape),
        ["signum"] = (shape, _) => 4 * Count(shape),
        ["stable-adamw"] = (shape, _) => 8 * Count(shape),
        ["adopt"] = (shape, _) => 8 * Count(shape),
        ["mars"] = (shape, _) => (shape.Length == 2 ? 12 : 8) * Count(shape),
        ["ademamix"] = (shape, _) => 12 * Count(shape),
        ["spam"] = (shape, _) => 8 * Count(shape),

        // The means of the norm, of its square and of the largest magnitude.
        ["stable-spam"] = (shape, _) => 8 * Count(shape) + 12,
        ["lamb"] = (shape, _) => 8 * Count(shape),
        ["lion"] = (shape, _) => 4 * Count(shape),

        // Only matrices are chosen for orthogonalisation; AdamW trains the rest.
        ["muon"] = (shape, _) => (shape.Length == 2 ? 4 : 8) * Count(shape),

        ["sophia"] = (shape, _) => 8 * Count(shape),

        // The moments, and the sums and the starting values of the estimate.
        ["prodigy"] = (shape, _) => 16 * Count(shape),
        ["schedulefree-sgd"] = (shape, _) => 4 * Count(shape),
        ["schedulefree-adamw"] = (shape, _) => 8 * Count(shape),

        // As Muon, with a second moment for each row.
        ["normuon"] = (shape, _) => shape.Length == 2 ? 4 * Count(shape) + 4 * shape[0] : 8 * Count(shape),

        // A Gram matrix and a basis for each side of a matrix.
        ["soap"] = (shape, _) => 8 * Count(shape) + (shape.Length < 2 ? 0 : 8 * shape.Sum(size => (long)size * size)),

        // The momentum, and a basis of a rank for the short side; AdamW trains the rest.
        ["dion"] = (shape, rank) => shape.Length == 2 ? 4 * Count(shape) + 4L * Short(shape) * Math.Min(rank, Short(shape)) : 8 * Count(shape),

        // No state but for vectors, which AdamW trains, and the last layer.
        ["scale"] = (shape, _) => shape.Length < 2 ? 8 * Count(shape) : 0,

        // A second moment for each row; one for a vector.
        ["adam-mini"] = (shape, _) => 4 * Count(shape) + 4 * (shape.Length < 2 ? 1 : Count(shape[..^1])),
        ["adafactor"] = (shape, _) => 4 * Factored(shape),
        ["adafactor-relative"] = (shape, _) => 4 * Factored(shape),
        ["came"] = (shape, _) => 4 * Count(shape) + (shape.Length < 2 ? 4 : 8) * Factored(shape),
        ["galore"] = (shape, rank) => Singular(shape, rank, 0),
        ["fira"] = (shape, rank) => Singular(shape, rank, 4),
        ["apollo"] = RandomlyProjected,
        ["apollo-mini"] = RandomlyProjected,
    };

    /// <summary>Rows and columns of every matrix, or all numbers of a vector.</summary>
    private static long Factored(int[] shape) => shape.Length < 2 ? Count(shape) : Count(shape[..^2]) * (shape[^2] + shape[^1]);

    /// <summary>8rK + 4rk, and a norm; the rank ends at the short side. What is no matrix is trained by Adam.</summary>
    private static long Singular(int[] shape, int rank, int norm)
    {
        if (shape.Length != 2)
            return 8 * Count(shape);
        long small = Math.Min(shape[0], shape[1]), r = Math.Min(rank, small);
        return 8 * r * Long(shape) + 4 * r * small + norm;
    }

    /// <summary>8rK and a norm; the settings cut the rank at the short side. What is no matrix is trained by Adam.</summary>
    private static long RandomlyProjected(int[] shape, int rank) => shape.Length == 2 ? 8L * Math.Min(rank, Math.Min(shape[0], shape[1])) * Long(shape) + 4 : 8 * Count(shape);

    private static long Short(int[] shape) => Math.Min(shape[0], shape[1]);

    private static long Long(int[] shape) => Math.Max(shape[0], shape[1]);

    private static long Count(IEnumerable<int> shape) => shape.Aggregate(1L, (product, size) => product * size);
}
