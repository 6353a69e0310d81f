using ILGpuOptim.Compute;

namespace ILGpuOptim.Tests.Devices;

/// <summary>Storage of 4-bit integers: rounding, padding, and what refuses it.</summary>
public sealed class Int4Tests
{
    public static TheoryData<DType, int> Sizes => new MatrixTheoryData<DType, int>([DType.Int4By32, DType.Int4By64, DType.Int4By128], [1, 15, 16, 17, 32, 33, 64, 127, 128, 300]);

    [Theory]
    [MemberData(nameof(Sizes))]
    public void EachElementIsTheNearestCodeTimesTheScaleOfItsGroup(DType type, int columns)
    {
        const int Rows = 3;
        var random = new Random(columns);
        float[] values = [.. Enumerable.Range(0, Rows * columns).Select(_ => random.NextSingle() - 0.5f)];
        float[] read = RoundTrip(type, values, columns);
        int group = type.GroupOf();
        for (int row = 0; row < Rows; row++)
        {
            for (int first = 0; first < columns; first += group)
            {
                int count = Math.Min(group, columns - first);
                float largest = values.AsSpan(row * columns + first, count).ToArray().Max(MathF.Abs), scale = largest / 7;
                for (int i = row * columns + first; i < row * columns + first + count; i++)
                    Assert.Equal(Math.Round((double)values[i] / scale) * scale, read[i], 1e-6);
            }
        }

        Assert.Equal(Rows * ((columns + group - 1) / group) * (group / 2 + 4), type.Bytes(Rows, columns));
    }

    [Fact]
    public void PartsOfRowsAreThoseOfWholeRows()
    {
        float[] values = [.. Enumerable.Range(0, 300).Select(i => MathF.Sin(i))];
        var bytes = new byte[DType.Int4By64.Bytes(1, 300)];
        Int4.Narrow(DType.Int4By64, values, 300, bytes);
        float[] whole = RoundTrip(DType.Int4By64, values, 300);
        foreach ((int start, int count) in ((int, int)[])[(0, 1), (5, 3), (15, 2), (16, 16), (31, 70), (32, 64), (60, 240), (299, 1)])
        {
            var part = new float[count];
            unsafe
            {
                fixed (byte* codes = bytes)
                fixed (float* target = part)
                    Int4.Widen(codes, (float*)(codes + Int4.Scales(DType.Int4By64, 1, 300)), 64, start, count, target);
            }

            Assert.Equal(whole.AsSpan(start, count).ToArray(), part);
        }
    }

    [Fact]
    public void ZerosStayAndNotANumberSpreadsOverItsGroup()
    {
        var values = new float[96];
        values[40] = float.NaN;
        values[70] = 7;
        float[] read = RoundTrip(DType.Int4By32, values, 96);
        Assert.All(read[..32], value => Assert.Equal(0, value));
        Assert.All(read[32..64], value => Assert.Equal(float.NaN, value));
        Assert.Equal((7, 0), (read[70], read[71]));
    }

    public static TheoryData<DType, int, int> Products => new MatrixTheoryData<DType, int, int>([DType.Int4By32, DType.Int4By64, DType.Int4By128], [128, 256, 512], [1, 2, 3, 4]);

    /// <summary>Codes are read as they lie, yet sums have the bits of products with the widened weights, in every vector width and for rows that end within a group.</summary>
    [Theory]
    [MemberData(nameof(Products))]
    public void ProductsOfFewRowsAreThoseOfTheWidenedWeights(DType type, int vectorBits, int rows)
    {
        using var device = new CpuDevice(2, vectorBits);
        foreach (int columns in (int[])[1, 16, 31, 32, 63, 64, 100, 129, 300, 512])
        {
            const int Outputs = 21;
            var random = new Random(columns);
            float[] weights = [.. Enumerable.Range(0, Outputs * columns).Select(_ => random.NextSingle() - 0.5f)], values = [.. Enumerable.Range(0, rows * columns).Select(_ => random.NextSingle() - 0.5f)];
            var bytes = new byte[type.Bytes(Outputs, columns)];
            Int4.Narrow(type, weights, columns, bytes);
            Int4.Widen(type, bytes, columns, weights);
            Block x = device.Pool.Rent(values.Length), codes = device.Pool.Rent(Outputs, columns, type), wide = device.Pool.Rent(weights.Length);
            Block[] results = [device.Pool.Rent(rows * Outputs), device.Pool.Rent(rows * Outputs)];
            device.Upload(values, x);
            device.UploadBytes(bytes, codes);
            device.Upload(weights, wide);
            float[][] read = [new float[rows * Outputs], new float[rows * Outputs]];
            foreach ((Block factor, int i) in ((Block, int)[])[(codes, 0), (wide, 1)])
            {
                device.Gemm(new GemmArguments(x, factor, results[i], rows, Outputs, columns) { TransposeB = true });
                device.Download(results[i], read[i]);
            }

            Assert.Equal(read[1], read[0]);
        }
    }

    [Fact]
    public void OnlyTheSecondFactorOfAProductIsReadInFourBits()
    {
        using var device = new CpuDevice(1);
        Block weight = device.Pool.Rent(4, 64, DType.Int4By64), x = device.Pool.Rent(256), y = device.Pool.Rent(256);
        Assert.Throws<NotSupportedException>(() => device.Map(new CopyRule(), 4, 64, weight, x));
        Assert.Throws<NotSupportedException>(() => device.Copy(weight, x));
        Assert.Throws<NotSupportedException>(() => device.Fill(weight, 1));
        Assert.Throws<NotSupportedException>(() => weight.Slice(0, 64));
        Assert.Throws<NotSupportedException>(() => device.Gather(weight, device.Pool.Rent(1, DType.I32), x, 64, false));
        Assert.Throws<ArgumentException>(() => device.Gemm(new GemmArguments(weight, x, y, 4, 4, 64)));
        Assert.Throws<ArgumentException>(() => device.Gemm(new GemmArguments(x, weight, y, 4, 4, 32) { TransposeB = true, StrideB = 64 }));
        Assert.Throws<ArgumentException>(() => device.Gemm(new GemmArguments(x, weight with { Type = DType.Int4By32 }, y, 1, 64, 8)));
    }

    private static float[] RoundTrip(DType type, float[] values, int columns)
    {
        var bytes = new byte[type.Bytes(values.Length / columns, columns)];
        var read = new float[values.Length];
        Int4.Narrow(type, values, columns, bytes);
        Int4.Widen(type, bytes, columns, read);
        return read;
    }
}
