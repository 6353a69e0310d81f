using ILGpuOptim.Compute;
using MathNet.Numerics.LinearAlgebra;

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

    /// <summary>Both sides; GaLore alone.</summary>
    Full,
}

/// <summary>Where a projection's basis comes from.</summary>
public enum ProjectionBasis
{
    /// <summary>Normal numbers of variance 1 / rank, drawn again from a seed whenever they are needed.</summary>
    Random,

    /// <summary>The leading singular vectors of the gradient.</summary>
    Svd,
}

/// <summary>The sizes of a low-rank gradient R and of its basis.</summary>
/// <param name="Rows">Rows m of the gradient.</param>
/// <param name="Columns">Columns n of the gradient.</param>
/// <param name="Rank">Columns, or rows, of the basis.</param>
/// <param name="IsLeft">Whether R = Pᵀ G with P m × rank; else R = G Qᵀ with Q rank × n.</param>
/// <param name="IsFull">Whether both sides are projected: R = Aᵀ G Bᵀ.</param>
internal readonly record struct Projection(int Rows, int Columns, int Rank, bool IsLeft, bool IsFull)
{
    public static Projection Of(IReadOnlyList<int> shape, ProjectionType type, ProjectionBasis basis, int rank)
    {
        if (shape.Count != 2)
            throw new UserException("a low-rank group takes matrices only; leave this parameter out of it");
        int m = shape[0], n = shape[1];

        // Singular vectors end at the short side; random directions do not.
        int used = basis == ProjectionBasis.Svd ? Math.Min(rank, Math.Min(m, n)) : rank;
        bool left = type switch
        {
            ProjectionType.Std => m < n,
            ProjectionType.ReverseStd => m >= n,
            ProjectionType.Left => true,
            _ => false,
        };
        return new(m, n, used, left, type == ProjectionType.Full);
    }

    /// <summary>The shape of R.</summary>
    public int[] Low => IsFull ? [Rank, Rank] : IsLeft ? [Rank, Columns] : [Rows, Rank];

    /// <summary>The shape of the one basis, or of A.</summary>
    public int[] Basis => IsFull || IsLeft ? [Rows, Rank] : [Rank, Columns];

    /// <summary>R from the gradient.</summary>
    public void Project(Device device, Block gradient, Block basis, Block second, Block low)
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
    public GemmArguments Back(Device device, Block low, Block basis, Block second, Block half, Block target, float alpha, float beta)
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

    /// <summary>The leading singular vectors of a gradient, in double precision on the host: left as columns, right as rows.</summary>
    /// <exception cref="UserException">The gradient is not finite.</exception>
    public (float[] Left, float[] Right) SingularVectors(ReadOnlySpan<float> gradient)
    {
        // The taller orientation keeps the library's square factor small.
        bool flip = Rows < Columns;
        Matrix<double> matrix = Matrix<double>.Build.Dense(flip ? Columns : Rows, flip ? Rows : Columns);
        for (int i = 0; i < Rows; i++)
        {
            for (int j = 0; j < Columns; j++)
            {
                float value = gradient[i * Columns + j];
                if (!float.IsFinite(value))
                    throw new UserException($"the gradient is not finite at ({i}, {j}), so it has no singular vectors; lower the learning rate or clip gradients");
                matrix[flip ? j : i, flip ? i : j] = value;
            }
        }

        // The long side's vectors follow from the short side's: U = G V / σ.
        var decomposition = matrix.TransposeThisAndMultiply(matrix).Evd(Symmetricity.Symmetric);
        int small = Math.Min(Rows, Columns);
        Matrix<double> shortVectors = Matrix<double>.Build.Dense(small, Rank, (i, k) => decomposition.EigenVectors[i, small - 1 - k]);
        Matrix<double> longVectors = (matrix * shortVectors).QR(MathNet.Numerics.LinearAlgebra.Factorization.QRMethod.Thin).Q;
        for (int k = 0; k < Rank; k++)
        {
            // QR may flip a direction.
            if ((matrix * shortVectors.Column(k)).DotProduct(longVectors.Column(k)) < 0)
                longVectors.SetColumn(k, -longVectors.Column(k));
        }

        Matrix<double> left = flip ? shortVectors : longVectors, right = flip ? longVectors : shortVectors;
        var leftResult = new float[Rows * Rank];
        var rightResult = new float[Rank * Columns];
        for (int k = 0; k < Rank; k++)
        {
            for (int i = 0; i < Rows; i++)
                leftResult[i * Rank + k] = (float)left[i, k];
            for (int j = 0; j < Columns; j++)
                rightResult[k * Columns + j] = (float)right[j, k];
        }

        return (leftResult, rightResult);
    }
}
