using ILGpuOptim.Compute;
using ILGpuOptim.Optim;
using MathNet.Numerics.LinearAlgebra;

namespace ILGpuOptim.Tests.Optim;

/// <summary>Exact singular vectors on the host: what they must be, whatever the matrix.</summary>
public sealed class SingularVectorsTests : IDisposable
{
    private readonly CpuDevice threads = new(2);

    public void Dispose() => threads.Dispose();

    [Theory]
    [InlineData(1, 1)]
    [InlineData(1, 7)]
    [InlineData(7, 1)]
    [InlineData(2, 2)]
    [InlineData(31, 33)]
    [InlineData(33, 31)]
    [InlineData(64, 64)]
    [InlineData(40, 300)]
    [InlineData(270, 130)]
    public void AllOfThemRebuildTheMatrix(int rows, int columns)
    {
        float[] matrix = Normal(rows * columns, 1);
        Check(matrix, rows, columns, new SingularVectors(matrix, rows, columns, Math.Min(rows, columns), threads));
    }

    [Theory]
    [InlineData(12, 20, 0)]
    [InlineData(20, 12, 1)]
    [InlineData(33, 33, 5)]
    [InlineData(70, 150, 69)]
    public void RepeatedAndVanishingValuesAreNothingSpecial(int rows, int columns, int ones)
    {
        // A diagonal of equal numbers and zeros, then the same turned by a reflection so that it is dense.
        var diagonal = new float[rows * columns];
        for (int i = 0; i < ones; i++)
            diagonal[i * columns + i] = 2;
        Check(diagonal, rows, columns, new SingularVectors(diagonal, rows, columns, Math.Min(rows, columns), threads));
        float[] turned = [.. Enumerable.Range(0, rows * columns).Select(at => Enumerable.Range(0, rows).Sum(i => (float)Reflection(at / columns, i, rows) * diagonal[i * columns + at % columns]))];
        var vectors = new SingularVectors(turned, rows, columns, Math.Min(rows, columns), threads);
        Check(turned, rows, columns, vectors);
        for (int k = 0; k < vectors.Values.Length; k++)
            Assert.Equal(k < ones ? 2 : 0, vectors.Values[k], 2e-7);
    }

    [Fact]
    public void VectorsOfSmallValuesKeepTheirDigits()
    {
        // Cosines are an orthonormal basis; singular values fall from 1 to 1e-4.
        const int Rows = 48, Columns = 80, Rank = 17;
        var matrix = new float[Rows * Columns];
        for (int at = 0; at < matrix.Length; at++)
        {
            double sum = 0;
            for (int k = 0; k < Rank; k++)
                sum += Math.Pow(10, -k / 4.0) * Cosine(k, at / Columns, Rows) * Cosine(k + 1, at % Columns, Columns);
            matrix[at] = (float)sum;
        }

        float[] left = new SingularVectors(matrix, Rows, Columns, Rank, threads).Left;
        for (int k = 0; k < Rank; k++)
        {
            double overlap = Math.Abs(Enumerable.Range(0, Rows).Sum(i => left[i * Rank + k] * Cosine(k, i, Rows)));
            Assert.True(overlap > 1 - 1e-6, $"vector {k}: {1 - overlap:E2} away");
        }
    }

    /// <summary>The same vectors, but for their signs, as those of an independent decomposition.</summary>
    [Theory]
    [InlineData(31, 33, 7)]
    [InlineData(96, 40, 40)]
    [InlineData(65, 257, 16)]
    public void AreThoseOfMathNet(int rows, int columns, int rank)
    {
        float[] matrix = Normal(rows * columns, 4);
        var vectors = new SingularVectors(matrix, rows, columns, rank, threads);
        var expected = Matrix<double>.Build.Dense(rows, columns, (i, j) => matrix[i * columns + j]).Svd();
        for (int k = 0; k < rank; k++)
        {
            Assert.Equal(expected.S[k], vectors.Values[k], 1e-13 * expected.S[0]);
            Assert.Equal(1, Math.Abs(Enumerable.Range(0, rows).Sum(i => expected.U[i, k] * vectors.Left[i * rank + k])), 1e-7);
            Assert.Equal(1, Math.Abs(Enumerable.Range(0, columns).Sum(j => expected.VT[k, j] * vectors.Right[k * columns + j])), 1e-7);
        }
    }

    [Fact]
    public void FollowASignConventionAndRepeatTheirBits()
    {
        float[] matrix = Normal(96 * 130, 3);
        float[] left = new SingularVectors(matrix, 96, 130, 20, threads).Left;
        for (int k = 0; k < 20; k++)
            Assert.True(Enumerable.Range(0, 96).Select(i => left[i * 20 + k]).MaxBy(Math.Abs) > 0);
        Assert.Equal(left, new SingularVectors(matrix, 96, 130, 20, threads).Left);
    }

    [Theory]
    [InlineData(600, 600, 600)]
    [InlineData(300, 700, 20)]
    [InlineData(700, 300, 290)]
    public void AreTheSameBitsForAnyNumberOfThreads(int rows, int columns, int rank)
    {
        float[] matrix = Normal(rows * columns, 5);
        using var one = new CpuDevice(1);
        using var three = new CpuDevice(3);
        float[] left = new SingularVectors(matrix, rows, columns, rank, one).Left;
        Assert.Equal(left, new SingularVectors(matrix, rows, columns, rank, three).Left);
    }

    /// <summary>Most eigenvalues of a Gram matrix of few long rows are rounding errors: their vectors must be orthonormal too, and found within seconds.</summary>
    [Fact]
    public void AllVectorsOfAMatrixOfLowRankAreOrthonormal()
    {
        const int Size = 500, Rank = 60;
        float[] factor = Normal(Size * Rank, 6);
        var matrix = new double[Size * Size];
        for (int i = 0; i < Size; i++)
        {
            for (int j = 0; j < Size; j++)
                matrix[i * Size + j] = (float)Enumerable.Range(0, Rank).Sum(k => (double)factor[i * Rank + k] * factor[j * Rank + k]);
        }

        (double[] values, double[] vectors) = SymmetricEigen.Leading([.. matrix], Size, Size, threads);
        for (int a = 0; a < Size; a++)
        {
            for (int b = 0; b <= a; b++)
                Assert.Equal(a == b ? 1 : 0, Tridiagonal.Dot(vectors.AsSpan(a * Size, Size), vectors.AsSpan(b * Size, Size)), 1e-12);
            for (int i = 0; i < Size; i++)
                Assert.Equal(values[a] * vectors[a * Size + i], Tridiagonal.Dot(matrix.AsSpan(i * Size, Size), vectors.AsSpan(a * Size, Size)), 1e-12 * values[0]);
        }
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void SayWhereAMatrixIsNotFinite(float value)
    {
        float[] matrix = Normal(6 * 9, 1);
        matrix[2 * 9 + 5] = value;
        UserException error = Assert.Throws<UserException>(() => new SingularVectors(matrix, 6, 9, 3, threads));
        Assert.Contains("(2, 5)", error.Message);
    }

    private static double Cosine(int k, int i, int size) => Math.Sqrt((k == 0 ? 1.0 : 2.0) / size) * Math.Cos(Math.PI * k * (2 * i + 1) / (2.0 * size));

    private static double Reflection(int i, int j, int size) => (i == j ? 1 : 0) - 2.0 / size;

    private static float[] Normal(int count, ulong seed)
    {
        using var device = new CpuDevice(1);
        Block block = device.Pool.Rent(count);
        device.Random(block, RandomKind.Normal, 1, seed, 0);
        var result = new float[count];
        device.Download(block, result);
        return result;
    }

    /// <summary>Both sets are orthonormal, values fall, and U Σ Vᵀ is the matrix.</summary>
    private static void Check(float[] matrix, int rows, int columns, SingularVectors vectors)
    {
        int rank = vectors.Values.Length;
        float[] left = vectors.Left, right = vectors.Right;
        for (int a = 0; a < rank; a++)
        {
            Assert.True(a == 0 || vectors.Values[a] <= vectors.Values[a - 1]);
            for (int b = 0; b <= a; b++)
            {
                Assert.Equal(a == b ? 1 : 0, Enumerable.Range(0, rows).Sum(i => (double)left[i * rank + a] * left[i * rank + b]), 3e-7);
                Assert.Equal(a == b ? 1 : 0, Enumerable.Range(0, columns).Sum(j => (double)right[a * columns + j] * right[b * columns + j]), 3e-7);
            }
        }

        for (int i = 0; i < rows; i++)
        {
            for (int j = 0; j < columns; j++)
                Assert.Equal(matrix[i * columns + j], Enumerable.Range(0, rank).Sum(k => left[i * rank + k] * vectors.Values[k] * right[k * columns + j]), 2e-7 * Math.Max(1, vectors.Values[0]));
        }
    }
}
