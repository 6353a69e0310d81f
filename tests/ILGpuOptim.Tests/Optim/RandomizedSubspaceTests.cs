using ILGpuOptim.Compute;
using ILGpuOptim.Optim;
using ILGpuOptim.Tests.Devices;

namespace ILGpuOptim.Tests.Optim;

/// <summary>Randomized subspace iteration, on every device: against exact singular vectors, and where there are none to find.</summary>
public abstract class RandomizedSubspaceSuite(Device device)
{
    [Theory]
    [InlineData(33, 70, 7, ProjectionType.Left)]
    [InlineData(70, 33, 7, ProjectionType.Left)]
    [InlineData(33, 70, 31, ProjectionType.Right)]
    [InlineData(96, 96, 31, ProjectionType.Right)]
    [InlineData(130, 64, 16, ProjectionType.Std)]
    public void SpansTheLeadingVectorsOfADecayingSpectrum(int rows, int columns, int rank, ProjectionType type)
    {
        float[] matrix = Decaying(rows, columns, 0.7);
        var projection = Projection.Of([rows, columns], type, ProjectionBasis.RandomizedSvd, rank);
        float[] basis = Find(projection, matrix, 4).Basis;
        AssertOrthonormal(basis, projection);
        var exact = new SingularVectors(matrix, rows, columns, projection.Rank, device);

        // Below 1e-5 of the largest, f32 products leave nothing of a singular vector.
        int visible = exact.Values.Count(value => value > 1e-5 * exact.Values[0]);
        for (int k = 0; k < visible; k++)
        {
            double squares = 0;
            for (int j = 0; j < projection.Rank; j++)
            {
                double overlap = 0;
                for (int i = 0; i < (projection.IsLeft ? rows : columns); i++)
                {
                    int at = projection.IsLeft ? i * projection.Rank : i;
                    overlap += projection.IsLeft ? (double)exact.Left[at + k] * basis[at + j] : (double)exact.Right[k * columns + at] * basis[j * columns + at];
                }

                squares += overlap * overlap;
            }

            // The sine of the angle between an exact vector and the subspace.
            double sine = Math.Sqrt(Math.Max(0, 1 - squares));
            Assert.True(sine < 1e-2, $"vector {k} of {projection.Rank} lies {sine:E2} outside");
        }
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(1, 7)]
    [InlineData(7, 1)]
    [InlineData(7, 31)]
    [InlineData(31, 33)]
    [InlineData(33, 31)]
    public void IsOrthonormalForOddShapesAndAnyMatrix(int rows, int columns)
    {
        float[] zeros = new float[rows * columns], ones = [.. Enumerable.Repeat(1f, rows * columns)];
        foreach (float[] matrix in (float[][])[zeros, ones, Decaying(rows, columns, 0.01), Decaying(rows, columns, 1)])
        {
            foreach (ProjectionType type in (ProjectionType[])[ProjectionType.Left, ProjectionType.Right])
            {
                var projection = Projection.Of([rows, columns], type, ProjectionBasis.RandomizedSvd, 7);
                AssertOrthonormal(Find(projection, matrix, 2).Basis, projection);
            }
        }
    }

    [Fact]
    public void FindsBothSides()
    {
        float[] matrix = Decaying(31, 48, 0.5);
        var projection = Projection.Of([31, 48], ProjectionType.Full, ProjectionBasis.RandomizedSvd, 6);
        (float[] left, float[] right) = Find(projection, matrix, 4);
        AssertOrthonormal(left, projection with { IsFull = false, IsLeft = true });
        AssertOrthonormal(right, projection with { IsFull = false, IsLeft = false });
        var exact = new SingularVectors(matrix, 31, 48, 6, device);
        for (int a = 0; a < 6; a++)
        {
            // Uᵀ G V is the diagonal of singular values, but for signs.
            for (int b = 0; b < 6; b++)
            {
                double sum = 0;
                for (int at = 0; at < matrix.Length; at++)
                    sum += (double)left[at / 48 * 6 + a] * matrix[at] * right[b * 48 + at % 48];
                Assert.Equal(a == b ? exact.Values[a] : 0, Math.Abs(sum), 1e-6);
            }
        }
    }

    [Fact]
    public void ItsSeedDeterminesItsBits()
    {
        float[] matrix = Decaying(40, 33, 0.9);
        var projection = Projection.Of([40, 33], ProjectionType.Std, ProjectionBasis.RandomizedSvd, 8);
        float[] first = Find(projection, matrix, 1).Basis;
        Assert.Equal(first, Find(projection, matrix, 1).Basis);
        Assert.NotEqual(first, Find(projection, matrix, 1, seed: 6).Basis);
    }

    [Fact]
    public void RefusesWhatIsNotFinite()
    {
        float[] matrix = Decaying(8, 9, 0.9);
        matrix[11] = float.NaN;
        var projection = Projection.Of([8, 9], ProjectionType.Std, ProjectionBasis.RandomizedSvd, 3);
        Assert.Contains("not finite", Assert.Throws<UserException>(() => Find(projection, matrix, 1)).Message);
    }

    private (float[] Basis, float[] Second) Find(Projection projection, float[] matrix, int iterations, ulong seed = 5)
    {
        Block gradient = device.Pool.Rent(matrix.Length), basis = device.Pool.Rent(projection.Basis[0] * projection.Basis[1]);
        Block second = device.Pool.Rent(projection.Rank * projection.Columns);
        device.Upload(matrix, gradient);
        try
        {
            RandomizedSubspace.Find(device, projection, gradient, iterations, seed, 1, basis, second);
            float[] found = new float[basis.Length], other = new float[second.Length];
            device.Download(basis, found);
            device.Download(second, other);
            return (found, other);
        }
        finally
        {
            foreach (Block block in (ReadOnlySpan<Block>)[gradient, basis, second])
                device.Pool.Return(block);
        }
    }

    /// <summary>Products of cosines with singular values ratioᵏ, and a little of everything.</summary>
    private static float[] Decaying(int rows, int columns, double ratio)
    {
        var result = new float[rows * columns];
        for (int k = 0; k < Math.Min(rows, columns); k++)
        {
            for (int at = 0; at < result.Length; at++)
                result[at] += (float)(Math.Pow(ratio, k) * Cosine(k, at / columns, rows) * Cosine(k, at % columns, columns));
        }

        return result;
    }

    private static double Cosine(int k, int i, int size) => Math.Sqrt((k == 0 ? 1.0 : 2.0) / size) * Math.Cos(Math.PI * k * (2 * i + 1) / (2.0 * size));

    private static void AssertOrthonormal(float[] basis, Projection projection)
    {
        int length = projection.IsLeft ? projection.Rows : projection.Columns, rank = projection.Rank;
        for (int a = 0; a < rank; a++)
        {
            for (int b = 0; b <= a; b++)
            {
                double sum = 0;
                for (int i = 0; i < length; i++)
                    sum += projection.IsLeft ? (double)basis[i * rank + a] * basis[i * rank + b] : (double)basis[a * length + i] * basis[b * length + i];
                Assert.Equal(a == b ? 1 : 0, sum, 1e-5);
            }
        }
    }
}

public class CpuRandomizedSubspaceTests() : RandomizedSubspaceSuite(new CpuDevice(2));

public class ReferenceRandomizedSubspaceTests() : RandomizedSubspaceSuite(new ReferenceDevice());

[Collection("gpu"), Trait("device", "opencl")]
public class OpenClRandomizedSubspaceTests() : RandomizedSubspaceSuite(Gpu.OpenCl());

[Collection("gpu"), Trait("device", "cuda")]
public class CudaRandomizedSubspaceTests() : RandomizedSubspaceSuite(Gpu.Cuda());
