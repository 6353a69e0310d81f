using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>
/// The largest eigenvalues of a symmetric matrix and their vectors, in double precision on the host: reduction to tridiagonal form, then the implicit QL
/// algorithm (<see cref="ImplicitQl"/>) where more than half of the vectors are wanted, else bisection by Sturm counts (eight eigenvalues at a time), inverse iteration and
/// back-transformation. Equal and zero eigenvalues need no special case: inverse iteration orthogonalises vectors of neighbouring eigenvalues against each other twice, and rotations keep
/// vectors orthogonal.
/// </summary>
/// <remarks>See Golub and Van Loan, Matrix Computations, sections 8.3 and 8.4; Wilkinson, The Algebraic Eigenvalue Problem, chapter 5.</remarks>
internal static class SymmetricEigen
{
    private const double Epsilon = 2.220446049250313e-16;

    /// <summary>Eigenvalues that lie closer together than this, relative to the largest, may need their vectors orthogonalised.</summary>
    private const double Neighbourhood = 1e-3;

    private const int Lanes = 8, MaxBisections = 70, MaxAttempts = 6;

    /// <summary>The <paramref name="count"/> largest eigenvalues in falling order; their orthonormal vectors are rows of count × size.</summary>
    /// <param name="matrix">size × size and symmetric; overwritten.</param>
    /// <param name="size">Rows of the matrix.</param>
    /// <param name="count">Number of eigenvalues, at most <paramref name="size"/>.</param>
    /// <param name="device">Whose threads share the work; results are the same bits for any number.</param>
    public static (double[] Values, double[] Vectors) Leading(double[] matrix, int size, int count, Device device)
    {
        double largest = 0;
        foreach (double element in matrix)
            largest = Math.Max(largest, Math.Abs(element));
        if (largest == 0)
        {
            var units = new double[count * size];
            for (int k = 0; k < count; k++)
                units[k * size + k] = 1;
            return (new double[count], units);
        }

        for (int i = 0; i < matrix.Length; i++)
            matrix[i] /= largest;
        var reduced = new Tridiagonal(matrix, size, device);
        double norm = Norm(reduced);
        (double[] values, double[] vectors) = 2 * count > size ? ImplicitQl.Decompose(reduced, count, norm, device) : Some(reduced, count, norm, device);
        for (int k = 0; k < count; k++)
            values[k] *= largest;
        return (values, vectors);
    }

    /// <summary>A few of the eigenvalues and vectors, without computing the others.</summary>
    private static (double[] Values, double[] Vectors) Some(Tridiagonal reduced, int count, double norm, Device device)
    {
        int size = reduced.Size;
        var vectors = new double[count * size];
        double[] values = Bisect(reduced, count, norm, device);
        var solver = new InverseIteration(reduced, norm);
        for (int k = 0, first = 0; k < count; k++)
        {
            while (values[first] - values[k] > Neighbourhood * norm)
                first++;
            solver.Find(values[k], k, vectors.AsSpan(first * size, (k - first) * size), vectors.AsSpan(k * size, size));
        }

        device.ForEachOnHost((count + Lanes - 1) / Lanes, group =>
            reduced.Lift(vectors.AsSpan(group * Lanes * size, Math.Min(Lanes, count - group * Lanes) * size), size));
        return (values, vectors);
    }

    /// <summary>Makes a vector orthogonal to rows of its length, twice: the second time removes what the first left by rounding.</summary>
    public static void Orthogonalise(ReadOnlySpan<double> rows, Span<double> vector)
    {
        for (int pass = 0; pass < 2; pass++)
        {
            for (int start = 0; start < rows.Length; start += vector.Length)
            {
                ReadOnlySpan<double> row = rows.Slice(start, vector.Length);
                Tridiagonal.AddScaled(-Tridiagonal.Dot(row, vector), row, vector);
            }
        }
    }

    /// <summary>Numbers in [-½, ½) that depend on the seed alone.</summary>
    public static void FillRandom(Span<double> vector, ulong seed)
    {
        for (int i = 0; i < vector.Length; i++)
            vector[i] = Philox.Unit(Philox.Generate(seed, 0, (ulong)i).A) - 0.5;
    }

    /// <summary>Normalizes a vector and returns its length; a zero vector is unchanged.</summary>
    public static double Normalise(Span<double> vector)
    {
        double length = Math.Sqrt(Tridiagonal.Dot(vector, vector));
        for (int i = 0; i < vector.Length && length > 0; i++)
            vector[i] /= length;
        return length;
    }

    /// <summary>The largest sum of magnitudes in a row: a bound of all eigenvalues.</summary>
    private static double Norm(Tridiagonal t)
    {
        double norm = 0;
        for (int i = 0; i < t.Size; i++)
            norm = Math.Max(norm, Math.Abs(t.Diagonal[i]) + (i > 0 ? Math.Abs(t.OffDiagonal[i - 1]) : 0) + (i < t.Size - 1 ? Math.Abs(t.OffDiagonal[i]) : 0));
        return norm;
    }

    private static double[] Bisect(Tridiagonal t, int count, double norm, Device device)
    {
        var values = new double[count];
        device.ForEachOnHost((count + Lanes - 1) / Lanes, group =>
        {
            // Index j from the top has size - 1 - j eigenvalues below it.
            Vector512<double> below = Vector512.Create<double>(t.Size - 1 - group * Lanes) - Vector512.Create(0.0, 1, 2, 3, 4, 5, 6, 7);
            Vector512<double> low = Vector512.Create(-norm * (1 + 4 * Epsilon)), high = -low;
            for (int i = 0; i < MaxBisections && Vector512.GreaterThanAny(high - low, Vector512.Create(Epsilon * norm)); i++)
            {
                Vector512<double> middle = (low + high) * 0.5;
                Vector512<double> isAbove = Vector512.GreaterThan(Count(t, middle, norm), below);
                high = Vector512.ConditionalSelect(isAbove, middle, high);
                low = Vector512.ConditionalSelect(isAbove, low, middle);
            }

            Vector512<double> found = (low + high) * 0.5;
            for (int lane = 0; lane < Lanes && group * Lanes + lane < count; lane++)
                values[group * Lanes + lane] = found[lane];
        });

        // Eigenvalues that bisection cannot separate.
        for (int k = 1; k < count; k++)
            values[k] = Math.Min(values[k], values[k - 1]);
        return values;
    }

    /// <summary>The number of eigenvalues below each shift: the negative pivots of T - shift.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static Vector512<double> Count(Tridiagonal t, Vector512<double> shift, double norm)
    {
        Vector512<double> least = Vector512.Create(Epsilon * Epsilon * norm), one = Vector512.Create(1.0), count = default;
        Vector512<double> pivot = one;
        for (int i = 0; i < t.Size; i++)
        {
            double beside = i == 0 ? 0 : t.OffDiagonal[i - 1];
            pivot = Vector512.Create(t.Diagonal[i]) - shift - Vector512.Create(beside * beside) / pivot;
            pivot = Vector512.ConditionalSelect(Vector512.LessThan(Vector512.Abs(pivot), least), -least, pivot);
            count += Vector512.ConditionalSelect(Vector512.LessThan(pivot, Vector512<double>.Zero), one, Vector512<double>.Zero);
        }

        return count;
    }

    /// <summary>Solves (T - λ) x = b again and again: what remains is the eigenvector of λ.</summary>
    private sealed class InverseIteration(Tridiagonal t, double norm)
    {
        private readonly double[] pivots = new double[t.Size], above = new double[t.Size], beyond = new double[t.Size], multipliers = new double[t.Size];
        private readonly bool[] swapped = new bool[t.Size];

        public void Find(double value, int index, ReadOnlySpan<double> neighbours, Span<double> vector)
        {
            Factor(value);
            for (int attempt = 0; attempt < MaxAttempts; attempt++)
            {
                SymmetricEigen.FillRandom(vector, (ulong)index * MaxAttempts + (ulong)attempt);
                SymmetricEigen.Orthogonalise(neighbours, vector);
                SymmetricEigen.Normalise(vector);
                for (int i = 0; i < 3; i++)
                {
                    Solve(vector);
                    SymmetricEigen.Normalise(vector);
                    SymmetricEigen.Orthogonalise(neighbours, vector);
                    SymmetricEigen.Normalise(vector);
                }

                if (Residual(value, vector) <= 16 * Math.Sqrt(t.Size) * Epsilon * norm)
                    return;
            }
        }

        /// <summary>T - λ = P L U with rows exchanged where that makes pivots larger.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private void Factor(double value)
        {
            double least = Epsilon * norm;
            (double pivot, double next, double last) = (t.Diagonal[0] - value, t.Size > 1 ? t.OffDiagonal[0] : 0, 0);
            for (int i = 0; i < t.Size - 1; i++)
            {
                double under = t.OffDiagonal[i], underDiagonal = t.Diagonal[i + 1] - value, underNext = i < t.Size - 2 ? t.OffDiagonal[i + 1] : 0;
                swapped[i] = Math.Abs(under) > Math.Abs(pivot);
                if (swapped[i])
                {
                    (pivots[i], above[i], beyond[i]) = (under, underDiagonal, underNext);
                    multipliers[i] = pivot / under;
                    (pivot, next, last) = (next - multipliers[i] * underDiagonal, last - multipliers[i] * underNext, 0);
                }
                else
                {
                    (pivots[i], above[i], beyond[i]) = (Math.Abs(pivot) < least ? least : pivot, next, last);
                    multipliers[i] = under / pivots[i];
                    (pivot, next, last) = (underDiagonal - multipliers[i] * next, underNext - multipliers[i] * last, 0);
                }
            }

            pivots[t.Size - 1] = Math.Abs(pivot) < least ? least : pivot;
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private void Solve(Span<double> x)
        {
            for (int i = 0; i < x.Length - 1; i++)
            {
                if (swapped[i])
                    (x[i], x[i + 1]) = (x[i + 1], x[i]);
                x[i + 1] -= multipliers[i] * x[i];
            }

            for (int i = x.Length - 1; i >= 0; i--)
            {
                double sum = x[i];
                if (i + 1 < x.Length)
                    sum -= above[i] * x[i + 1];
                if (i + 2 < x.Length)
                    sum -= beyond[i] * x[i + 2];
                x[i] = sum / pivots[i];
            }
        }

        /// <summary>‖T x - λ x‖.</summary>
        private double Residual(double value, ReadOnlySpan<double> x)
        {
            double squares = 0;
            for (int i = 0; i < x.Length; i++)
            {
                double rest = (t.Diagonal[i] - value) * x[i];
                rest += i > 0 ? t.OffDiagonal[i - 1] * x[i - 1] : 0;
                rest += i + 1 < x.Length ? t.OffDiagonal[i] * x[i + 1] : 0;
                squares += rest * rest;
            }

            return Math.Sqrt(squares);
        }
    }
}
