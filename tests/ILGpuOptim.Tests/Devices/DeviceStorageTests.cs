using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Tests.Devices;

/// <summary>Narrow types, and copies by index and by stride, of a device against the reference device. Stamped on each device below.</summary>
public abstract class DeviceStorageTests(Device device, bool isShared = false) : DeviceComparison(device, isShared)
{
    /// <summary>On GPUs the last bit of a division may choose the code beside.</summary>
    [Theory]
    [InlineData(DType.BF16)]
    [InlineData(DType.I8)]
    public void StoresInOtherTypes(DType type)
    {
        foreach ((int rows, int columns) in ((int, int)[])[(1, 1), (3, 7), (5, 256), (4, 513), (2, 4097)])
        {
            Compare($"{type}", rows * columns, type == DType.I8 && Tested is not CpuDevice ? 1.0 / 127 : 1e-6, (d, output) =>
            {
                Block stored = d.Pool.Rent(rows, columns, type);
                d.Map(new CopyRule(), rows, columns, Random(d, (long)rows * columns, 1), stored);
                d.Map(new CopyRule(), rows, columns, stored, output);
            });
        }
    }

    [Theory]
    [InlineData(DType.BF16, 0u)]
    [InlineData(DType.BF16, 77u)]
    [InlineData(DType.Float8, 0u)]
    [InlineData(DType.Float8, 77u)]
    [InlineData(DType.UnsignedFloat8, 0u)]
    [InlineData(DType.UnsignedFloat8, 77u)]
    public void RoundsAsTold(DType type, uint seed)
    {
        foreach (int length in (int[])[1, 7, 255, 257, 4097])
        {
            Compare($"{type}", length, 0, (d, output) =>
            {
                Block stored = d.Pool.Rent(1, length, type), x = Random(d, length, 1);
                if (type == DType.UnsignedFloat8)
                    d.Map(new Square(), 1, length, x);
                d.Map(new CopyRule(), 1, length, x, new Operand(stored) { Seed = seed });
                d.Map(new CopyRule(), 1, length, stored, output);
            });
        }
    }

    /// <summary>A number between two codes of eight bits becomes one of them; which, may depend on the last bit of a division.</summary>
    [Fact]
    public void RoundsRowsOfEightBits()
    {
        foreach ((int rows, int columns) in ((int, int)[])[(1, 1), (7, 31), (33, 256), (3, 257), (2, 4097)])
        {
            Block x = Random(Tested, (long)rows * columns, 1), stored = Tested.Pool.Rent(rows, columns, DType.I8), y = Tested.Pool.Rent((long)rows * columns);
            Tested.Map(new CopyRule(), rows, columns, x, new Operand(stored) { Seed = 77 });
            Tested.Map(new CopyRule(), rows, columns, stored, y);
            Block same = Random(Reference, (long)rows * columns, 1), kept = Reference.Pool.Rent(rows, columns, DType.I8), z = Reference.Pool.Rent((long)rows * columns);
            Reference.Map(new CopyRule(), rows, columns, same, new Operand(kept) { Seed = 77 });
            Reference.Map(new CopyRule(), rows, columns, kept, z);
            float[] actual = Download(Tested, y), expected = Download(Reference, z);
            int other = actual.Zip(expected, (a, b) => Math.Abs(a - b) > 1e-5 ? 1 : 0).Sum();
            Assert.True(other <= actual.Length / 1000, $"{other} of {actual.Length} are rounded otherwise");
        }
    }

    [Theory]
    [InlineData(DType.BF16)]
    [InlineData(DType.I8)]
    public void MultipliesByNarrowFactors(DType type)
    {
        foreach ((int m, int n, int k) in ((int, int, int)[])[(1, 1, 1), (1, 33, 31), (7, 33, 257), (33, 7, 4097), (65, 300, 31)])
        {
            foreach (bool transposed in (bool[])[false, true])
            {
                Compare($"product with {type} {transposed}", m * n, 1e-5, (d, output) =>
                {
                    (int rows, int columns) = transposed ? (n, k) : (k, n);
                    Block b = d.Pool.Rent(rows, columns, type);

                    // Halves of small numbers, which every storage holds exactly.
                    Block x = Random(d, (long)rows * columns, 2);
                    d.Map(new Signs(), 1, (long)rows * columns, x);
                    d.Map(new CopyRule(), rows, columns, x, b);
                    d.Gemm(new GemmArguments(Random(d, (long)m * k, 1), b, output, m, n, k) { TransposeB = transposed }, new Mix(), Operand.PerColumn(Random(d, n, 3)));
                }, Math.Sqrt(k));
            }
        }
    }

    [Theory]
    [InlineData(DType.Int4By32)]
    [InlineData(DType.Int4By64)]
    [InlineData(DType.Int4By128)]
    public void MultipliesByFactorsOfFourBits(DType type)
    {
        foreach ((int m, int n, int k) in ((int, int, int)[])[(1, 1, 1), (1, 33, 31), (3, 70, 130), (7, 33, 257), (33, 7, 1100), (65, 300, 31)])
        {
            foreach (bool transposed in (bool[])[false, true])
            {
                (int rows, int columns) = transposed ? (n, k) : (k, n);
                float[] values = Download(Reference, Random(Reference, (long)rows * columns, 2));
                var bytes = new byte[type.Bytes(rows, columns)];
                Int4.Narrow(type, values, columns, bytes);
                Compare($"product with {type} {transposed} {m} × {n} × {k}", m * n, 1e-5, (d, output) =>
                {
                    Block b = d.Pool.Rent(rows, columns, type);
                    d.UploadBytes(bytes, b);
                    d.Gemm(new GemmArguments(Random(d, (long)m * k, 1), b, output, m, n, k) { TransposeB = transposed }, new Mix(), Operand.PerColumn(Random(d, n, 3)));
                    var read = new byte[bytes.Length];
                    d.DownloadBytes(b, read.Length, read);
                    Assert.Equal(bytes, read);
                }, Math.Sqrt(k));
            }
        }
    }

    [Theory]
    [InlineData(DType.I8)]
    [InlineData(DType.Float8)]
    [InlineData(DType.UnsignedFloat8)]
    public void ABlockWithNotANumberIsNotANumber(DType type)
    {
        Block x = Tested.Pool.Rent(300), stored = Tested.Pool.Rent(1, 300, type), y = Tested.Pool.Rent(300);
        var values = new float[300];
        Array.Fill(values, 0.5f);
        values[3] = float.NaN;
        Tested.Upload(values, x);
        Tested.Map(new CopyRule(), 1, 300, x, stored);
        Tested.Map(new CopyRule(), 1, 300, stored, y);
        float[] read = Download(Tested, y);
        Assert.All(read[..256], value => Assert.Equal(float.NaN, value));
        Assert.All(read[256..], value => Assert.Equal(0.5f, value, 1e-7f));
    }

    [Fact]
    public void MovesByIndex()
    {
        int[] rows = [2, 0, 2, 2, 1], maybe = [2, -1, 0, 1, -1];
        Compare("gather", 5 * 33, 0, (d, output) =>
        {
            d.Fill(output, 1);
            d.Gather(Random(d, 3 * 33, 1), Indices(d, rows), output, 33, accumulate: true);
        });
        Compare("gather bf16", 5 * 33, 0, (d, output) =>
        {
            Block table = d.Pool.Rent(3, 33, DType.BF16);
            d.Copy(Random(d, 3 * 33, 1), table);
            d.Gather(table, Indices(d, rows), output, 33, accumulate: false);
        });
        Compare("scatter", 3 * 33, 1e-6, (d, output) =>
        {
            d.Fill(output, 0);
            d.ScatterAdd(Random(d, 5 * 33, 1), Indices(d, maybe), output, 33);
        });
        Compare("pick", 5, 0, (d, output) => d.Pick(Random(d, 5 * 33, 1), Indices(d, maybe), output, 33));
        Compare("add at", 5 * 33, 1e-6, (d, output) =>
        {
            d.Fill(output, 0.5f);
            d.AddAt(output, Indices(d, maybe), Random(d, 5, 1), 33);
        });
        Compare("add several at", 2 * 33, 1e-6, (d, output) =>
        {
            d.Fill(output, 0.5f);
            d.AddAt(output, Indices(d, [3, -1, 3, 3, 32, 0, 7, 0, 0, -1]), Random(d, 10, 1), 33, perRow: 5);
        });
    }

    public static TheoryData<string, StridedAxis[], int, int, int> StridedCopies => new()
    {
        { "one element", [], 3, 0, 1 },
        { "nothing", [new(0, 1, 1), new(5, 1, 1)], 0, 0, 1 },
        { "a long run", [new(70_001, 1, 1)], 2, 0, 70_001 },
        { "one repeated", [new(70_001, 0, 1)], 2, 0, 70_001 },
        { "a matrix transposed", [new(130, 1, 77), new(77, 130, 1)], 0, 0, 77 * 130 },
        { "a small matrix transposed", [new(3, 1, 5), new(5, 3, 1)], 0, 0, 15 },
        { "matrices transposed, heads before tokens", [new(3, 5 * 4 * 8, 5 * 4 * 8), new(4, 8, 5 * 8), new(5, 4 * 8, 8), new(8, 1, 1)], 0, 0, 3 * 5 * 4 * 8 },
        { "columns into the middle of rows", [new(7, 1, 20), new(9, 7, 1)], 4, 3, 140 },
        { "backwards", [new(5, -7, 7), new(7, -1, 1)], 34, 0, 35 },
        { "every second", [new(6, 20, 8), new(4, 2, 2)], 1, 1, 48 },
        { "windows", [new(3, 36, 9 * 16), new(3, 6, 48), new(3, 1, 16), new(4, 6, 4), new(4, 1, 1)], 0, 0, 3 * 9 * 16 },
        { "six axes reversed", [new(2, 1, 360), new(3, 2, 120), new(4, 6, 30), new(5, 24, 6), new(3, 120, 2), new(2, 360, 1)], 0, 0, 720 },
        { "eight axes reversed", [new(2, 1, 128), new(2, 2, 64), new(2, 4, 32), new(2, 8, 16), new(2, 16, 8), new(2, 32, 4), new(2, 64, 2), new(2, 128, 1)], 0, 0, 256 },
    };

    [Theory]
    [MemberData(nameof(StridedCopies))]
    public void MovesByStride(string name, StridedAxis[] axes, int sourceStart, int targetStart, int length)
    {
        foreach (bool accumulate in (bool[])[false, true])
        {
            Compare(name, length, 1e-6, (d, output) =>
            {
                d.Fill(output, 0.5f);
                d.CopyStrided(Random(d, 80_000, 1), sourceStart, output, targetStart, axes, accumulate);
            });
        }
    }

    private readonly struct Square : IMap1
    {
        public static Access Access => Access.Of(Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a) where L : struct, ILane<L> => a *= a;
    }

    private readonly struct Signs : IMap1
    {
        public static Access Access => Access.Of(Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a) where L : struct, ILane<L> => a = L.Select(L.Less(a, L.Splat(0)), L.Splat(-0.5f), L.Splat(0.5f));
    }
}

public class CpuDeviceStorageTests() : DeviceStorageTests(new CpuDevice(2));

public class CpuDeviceStorage256Tests() : DeviceStorageTests(new CpuDevice(3, 256));

public class CpuDeviceStorage128Tests() : DeviceStorageTests(new CpuDevice(1, 128));

[Collection("gpu"), Trait("device", "opencl")]
public class OpenClDeviceStorageTests() : DeviceStorageTests(Gpu.OpenCl(), isShared: true);

[Collection("gpu"), Trait("device", "cuda")]
public class CudaDeviceStorageTests() : DeviceStorageTests(Gpu.Cuda(), isShared: true);
