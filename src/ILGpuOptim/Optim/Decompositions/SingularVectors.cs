using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>
/// The leading singular vectors of an f32 matrix, computed in double precision on the host: those of the short side are eigenvectors of its Gram
/// matrix, those of the long side follow by a product. Squaring costs nothing that shows in f32: vectors whose singular values lie
/// above 1e-6 of the largest keep eight digits and more.
/// </summary>
/// <remarks>
/// Signs: the component of largest magnitude of each short-side vector is positive, and σ is not negative. Vectors of zero singular values
/// complete the basis in a reproducible way.
/// </remarks>
internal sealed class SingularVectors
{
    private const int PanelColumns = 256;

    /// <summary>Below this fraction of the largest singular value the long side's vector is noise and is replaced.</summary>
    private const double Vanishing = 1e-12;

    private readonly Device device;
    private readonly float[] wide;
    private readonly int shortSide, longSide, rank;
    private readonly double[] vectors;

    /// <summary>Decomposes a matrix.</summary>
    /// <param name="gradient">rows × columns elements.</param>
    /// <param name="rows">Rows of the matrix.</param>
    /// <param name="columns">Columns of the matrix.</param>
    /// <param name="rank">Number of vectors, at most the short side.</param>
    /// <param name="device">Whose threads share the work; results are the same bits for any number.</param>
    /// <exception cref="UserException">The matrix is not finite.</exception>
    public SingularVectors(float[] gradient, int rows, int columns, int rank, Device device)
    {
        this.device = device;
        for (int i = 0; i < gradient.Length; i++)
        {
            if (!float.IsFinite(gradient[i]))
                throw new UserException($"the gradient is not finite at ({i / columns}, {i % columns}), so it has no singular vectors; lower the learning rate or clip gradients");
        }

        IsTall = rows >= columns;
        wide = IsTall ? Transposed(gradient, rows, columns) : gradient;
        (shortSide, longSide, this.rank) = (Math.Min(rows, columns), Math.Max(rows, columns), rank);
        (double[] squares, vectors) = SymmetricEigen.Leading(Gram(), shortSide, rank, device);
        Values = [.. squares.Select(square => Math.Sqrt(Math.Max(0, square)))];
        for (int k = 0; k < rank; k++)
        {
            Span<double> vector = vectors.AsSpan(k * shortSide, shortSide);
            double largest = 0;
            foreach (double component in vector)
                largest = Math.Abs(component) > Math.Abs(largest) ? component : largest;
            for (int i = 0; i < shortSide && largest < 0; i++)
                vector[i] = -vector[i];
        }
    }

    /// <summary>True if the matrix has at least as many rows as columns, so that the right vectors belong to the short side.</summary>
    public bool IsTall { get; }

    /// <summary>The singular values in falling order.</summary>
    public double[] Values { get; }

    /// <summary>The left vectors, as columns of rows × rank.</summary>
    public float[] Left => Columns(IsTall ? LongVectors() : vectors);

    /// <summary>The right vectors, as rows of rank × columns.</summary>
    public float[] Right => Array.ConvertAll(IsTall ? vectors : LongVectors(), value => (float)value);

    private float[] Transposed(float[] matrix, int rows, int columns)
    {
        var result = new float[matrix.Length];
        const int Block = 32;
        device.ForEachOnHost((columns + Block - 1) / Block, block =>
        {
            for (int start = 0; start < rows; start += Block)
            {
                for (int j = block * Block; j < Math.Min(columns, (block + 1) * Block); j++)
                {
                    for (int i = start; i < Math.Min(rows, start + Block); i++)
                        result[j * rows + i] = matrix[i * columns + j];
                }
            }
        });
        return result;
    }

    /// <summary>X Xᵀ for the wide matrix X, by panels of columns that are widened once and stay in the second-level cache.</summary>
    private double[] Gram()
    {
        var gram = new double[shortSide * shortSide];
        var panel = new double[(shortSide + 3) / 4 * 4 * PanelColumns];
        int blocks = (shortSide + 3) / 4;
        for (int start = 0; start < longSide; start += PanelColumns)
        {
            int first = start, width = Math.Min(PanelColumns, longSide - start), padded = (width + 7) / 8 * 8;
            device.ForEachOnHost(shortSide, i =>
            {
                for (int j = 0; j < padded; j++)
                    panel[i * PanelColumns + j] = j < width ? wide[i * longSide + first + j] : 0;
            });

            // Rows are paired from both ends, because later rows have more products.
            device.ForEachOnHost((blocks + 1) / 2, pair =>
            {
                AddProducts(panel, padded, pair, gram);
                if (blocks - 1 - pair != pair)
                    AddProducts(panel, padded, blocks - 1 - pair, gram);
            });
        }

        for (int i = 0; i < shortSide; i++)
        {
            for (int j = i + 1; j < shortSide; j++)
                gram[i * shortSide + j] = gram[j * shortSide + i];
        }

        return gram;
    }

    /// <summary>Products of four rows of a panel with all rows up to them, four by four.</summary>
    private void AddProducts(double[] panel, int width, int block, double[] gram)
    {
        Span<double> sums = stackalloc double[16];
        ReadOnlySpan<double> a = panel.AsSpan(block * 4 * PanelColumns, 4 * PanelColumns);
        for (int other = 0; other <= block; other++)
        {
            Products(a, panel.AsSpan(other * 4 * PanelColumns, 4 * PanelColumns), width, sums);
            for (int i = 0; i < 16; i++)
            {
                int row = block * 4 + i / 4, column = other * 4 + i % 4;
                if (row < shortSide && column < shortSide)
                    gram[row * shortSide + column] += sums[i];
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Products(ReadOnlySpan<double> a, ReadOnlySpan<double> b, int width, Span<double> sums)
    {
        ref double pa = ref MemoryMarshal.GetReference(a), pb = ref MemoryMarshal.GetReference(b);
        Vector512<double> c00 = default, c01 = default, c02 = default, c03 = default, c10 = default, c11 = default, c12 = default, c13 = default;
        Vector512<double> c20 = default, c21 = default, c22 = default, c23 = default, c30 = default, c31 = default, c32 = default, c33 = default;
        for (nuint k = 0; k < (nuint)width; k += 8)
        {
            Vector512<double> b0 = Vector512.LoadUnsafe(ref pb, k), b1 = Vector512.LoadUnsafe(ref pb, PanelColumns + k);
            Vector512<double> b2 = Vector512.LoadUnsafe(ref pb, 2 * PanelColumns + k), b3 = Vector512.LoadUnsafe(ref pb, 3 * PanelColumns + k);
            Vector512<double> x = Vector512.LoadUnsafe(ref pa, k);
            c00 = Vector512.FusedMultiplyAdd(x, b0, c00);
            c01 = Vector512.FusedMultiplyAdd(x, b1, c01);
            c02 = Vector512.FusedMultiplyAdd(x, b2, c02);
            c03 = Vector512.FusedMultiplyAdd(x, b3, c03);
            x = Vector512.LoadUnsafe(ref pa, PanelColumns + k);
            c10 = Vector512.FusedMultiplyAdd(x, b0, c10);
            c11 = Vector512.FusedMultiplyAdd(x, b1, c11);
            c12 = Vector512.FusedMultiplyAdd(x, b2, c12);
            c13 = Vector512.FusedMultiplyAdd(x, b3, c13);
            x = Vector512.LoadUnsafe(ref pa, 2 * PanelColumns + k);
            c20 = Vector512.FusedMultiplyAdd(x, b0, c20);
            c21 = Vector512.FusedMultiplyAdd(x, b1, c21);
            c22 = Vector512.FusedMultiplyAdd(x, b2, c22);
            c23 = Vector512.FusedMultiplyAdd(x, b3, c23);
            x = Vector512.LoadUnsafe(ref pa, 3 * PanelColumns + k);
            c30 = Vector512.FusedMultiplyAdd(x, b0, c30);
            c31 = Vector512.FusedMultiplyAdd(x, b1, c31);
            c32 = Vector512.FusedMultiplyAdd(x, b2, c32);
            c33 = Vector512.FusedMultiplyAdd(x, b3, c33);
        }

        ReadOnlySpan<Vector512<double>> all = [c00, c01, c02, c03, c10, c11, c12, c13, c20, c21, c22, c23, c30, c31, c32, c33];
        for (int i = 0; i < 16; i++)
            sums[i] = Vector512.Sum(all[i]);
    }

    /// <summary>Xᵀ v / σ, in falling order of σ and orthonormal.</summary>
    private double[] LongVectors()
    {
        var result = new double[rank * longSide];
        device.ForEachOnHost(rank, k =>
        {
            Span<double> target = result.AsSpan(k * longSide, longSide);
            for (int i = 0; i < shortSide; i++)
                AddScaled(vectors[k * shortSide + i], wide.AsSpan(i * longSide, longSide), target);
        });
        double least = Values[0] * Vanishing;
        for (int k = 0; k < rank; k++)
        {
            ReadOnlySpan<double> before = result.AsSpan(0, k * longSide);
            Span<double> vector = result.AsSpan(k * longSide, longSide);
            SymmetricEigen.Orthogonalise(before, vector);
            if (SymmetricEigen.Normalise(vector) <= least)
            {
                SymmetricEigen.FillRandom(vector, (ulong)k);
                SymmetricEigen.Orthogonalise(before, vector);
                SymmetricEigen.Normalise(vector);
            }
        }

        return result;
    }

    private static void AddScaled(double factor, ReadOnlySpan<float> x, Span<double> target)
    {
        Vector512<double> f = Vector512.Create(factor);
        int i = 0;
        for (; i <= x.Length - 16; i += 16)
        {
            (Vector512<double> lower, Vector512<double> upper) = Vector512.Widen(Vector512.Create(x[i..]));
            Vector512.FusedMultiplyAdd(f, lower, Vector512.Create<double>(target[i..])).CopyTo(target[i..]);
            Vector512.FusedMultiplyAdd(f, upper, Vector512.Create<double>(target[(i + 8)..])).CopyTo(target[(i + 8)..]);
        }

        for (; i < x.Length; i++)
            target[i] += factor * x[i];
    }

    private float[] Columns(double[] rowsOfVectors)
    {
        int length = rowsOfVectors.Length / rank;
        var result = new float[rowsOfVectors.Length];
        for (int k = 0; k < rank; k++)
        {
            for (int i = 0; i < length; i++)
                result[i * rank + k] = (float)rowsOfVectors[k * length + i];
        }

        return result;
    }
}
