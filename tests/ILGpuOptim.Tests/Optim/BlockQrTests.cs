using ILGpuOptim.Compute;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Tests.Optim;

public sealed class BlockQrTests
{
    /// <summary>Rows on the host, and in panels of 64 on the device: some are zero, some depend on others.</summary>
    [Theory]
    [InlineData(5, 9)]
    [InlineData(130, 200)]
    public void RowsBecomeOrthonormal(int count, int length)
    {
        var random = new Random(1);
        var rows = new float[count * length];
        for (int i = 0; i < rows.Length; i++)
            rows[i] = (float)(random.NextDouble() - 0.5);
        rows.AsSpan(0, length).CopyTo(rows.AsSpan(2 * length));
        rows.AsSpan(count / 2 * length).Clear();
        foreach (bool keepsZero in (bool[])[false, true])
        {
            float[] result = Orthonormalised(rows, count, length, keepsZero);
            for (int i = 0; i < count; i++)
            {
                for (int j = 0; j <= i; j++)
                {
                    double product = 0;
                    for (int k = 0; k < length; k++)
                        product += (double)result[i * length + k] * result[j * length + k];
                    Assert.Equal(i == j ? 1 : 0, product, 1e-5);
                }
            }
        }
    }

    [Theory]
    [InlineData(5, 9)]
    [InlineData(130, 200)]
    public void AMatrixOfZerosBecomesUnitVectorsUnlessItIsKept(int count, int length)
    {
        var zeros = new float[count * length];
        Assert.Equal(zeros, Orthonormalised(zeros, count, length, keepsZero: true));
        var units = new float[count * length];
        for (int i = 0; i < count; i++)
            units[i * length + i] = 1;
        Assert.Equal(units, Orthonormalised(zeros, count, length, keepsZero: false));
    }

    private static float[] Orthonormalised(float[] rows, int count, int length, bool keepsZero)
    {
        using var device = new CpuDevice(2);
        Block block = device.Pool.Rent(rows.Length);
        device.Upload(rows, block);
        new BlockQr().Orthonormalise(device, block, count, length, keepsZero);
        var result = new float[rows.Length];
        device.Download(block, result);
        return result;
    }
}
