using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Tests.Devices;

/// <summary>Every kernel shape of a device against the reference device. Stamped on each device below.</summary>
public abstract class DeviceTests(Device device, bool isShared = false) : IDisposable
{
    private readonly ReferenceDevice reference = new();

    public static TheoryData<int, int> Rectangles => new()
    {
        { 1, 1 }, { 1, 7 }, { 7, 1 }, { 1, 4097 }, { 4097, 1 }, { 33, 31 }, { 7, 513 }, { 768, 128 }, { 3, 20000 }, { 0, 5 }, { 5, 0 },
    };

    [Theory]
    [MemberData(nameof(Rectangles))]
    public void MapsOverEveryLayout(int rows, int columns)
    {
        foreach (Layout layout in (Layout[])[Layout.Full, Layout.PerRow, Layout.PerColumn, Layout.Scalar])
        {
            long count = layout switch { Layout.Full => (long)rows * columns, Layout.PerRow => rows, Layout.PerColumn => columns, _ => 1 };
            Compare($"map {layout}", rows * columns, 1e-6, (d, output) =>
            {
                Block x = Random(d, (long)rows * columns, 1), y = Random(d, count, 2);
                d.Copy(x, output);
                d.Map(new Mix(), rows, columns, output, new Operand(y, layout));
            });
        }
    }

    [Theory]
    [MemberData(nameof(Rectangles))]
    public void SumsOverEveryAxis(int rows, int columns)
    {
        foreach (Layout layout in (Layout[])[Layout.PerRow, Layout.PerColumn, Layout.Scalar, Layout.RowsAndColumns])
        {
            int count = layout switch { Layout.PerRow => rows, Layout.PerColumn => columns, Layout.RowsAndColumns => rows + columns, _ => 1 };
            Compare($"sum {layout}", count, 1e-5, (d, output) =>
                d.Map(new SumAndLargest(), rows, columns, Random(d, (long)rows * columns, 1), new Operand(output, layout), Operand.Scalar(d.Pool.Rent(1))), Math.Max(rows, columns));
            Compare($"max {layout}", count, 0, (d, output) =>
                d.Map(new SumAndLargest(), rows, columns, Random(d, (long)rows * columns, 1), Operand.Scalar(d.Pool.Rent(1)), new Operand(output, layout)));
        }
    }

    [Theory]
    [MemberData(nameof(Rectangles))]
    public void MapsWithSixOperands(int rows, int columns) => Compare("six operands", rows * columns, 1e-6, (d, output) =>
    {
        Block a = Random(d, (long)rows * columns, 1), b = Random(d, rows, 2), c = Random(d, columns, 3), e = Random(d, 1, 4), sums = d.Pool.Rent(columns);
        d.Map(new Six(), rows, columns, a, Operand.PerRow(b), Operand.PerColumn(c), Operand.Scalar(e), output, Operand.PerColumn(sums));
    });

    [Theory]
    [InlineData(DType.BF16)]
    [InlineData(DType.I8)]
    public void StoresInOtherTypes(DType type)
    {
        foreach ((int rows, int columns) in ((int, int)[])[(1, 1), (3, 7), (5, 256), (4, 513), (2, 4097)])
        {
            Compare($"{type}", rows * columns, type == DType.I8 ? 2e-2 : 1e-6, (d, output) =>
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
            Block x = Random(device, (long)rows * columns, 1), stored = device.Pool.Rent(rows, columns, DType.I8), y = device.Pool.Rent((long)rows * columns);
            device.Map(new CopyRule(), rows, columns, x, new Operand(stored) { Seed = 77 });
            device.Map(new CopyRule(), rows, columns, stored, y);
            Block same = Random(reference, (long)rows * columns, 1), kept = reference.Pool.Rent(rows, columns, DType.I8), z = reference.Pool.Rent((long)rows * columns);
            reference.Map(new CopyRule(), rows, columns, same, new Operand(kept) { Seed = 77 });
            reference.Map(new CopyRule(), rows, columns, kept, z);
            float[] actual = Download(device, y), expected = Download(reference, z);
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
    [InlineData(DType.I8)]
    [InlineData(DType.Float8)]
    [InlineData(DType.UnsignedFloat8)]
    public void ABlockWithNotANumberIsNotANumber(DType type)
    {
        Block x = device.Pool.Rent(300), stored = device.Pool.Rent(1, 300, type), y = device.Pool.Rent(300);
        var values = new float[300];
        Array.Fill(values, 0.5f);
        values[3] = float.NaN;
        device.Upload(values, x);
        device.Map(new CopyRule(), 1, 300, x, stored);
        device.Map(new CopyRule(), 1, 300, stored, y);
        float[] read = Download(device, y);
        Assert.All(read[..256], value => Assert.Equal(float.NaN, value));
        Assert.All(read[256..], value => Assert.Equal(0.5f, value, 1e-6f));
    }

    [Fact]
    public void ReadsStridesAndFactors() => Compare("stride", 5 * 7, 1e-6, (d, output) =>
    {
        Block factor = d.Pool.Rent(1);
        d.Upload([0.25f], factor);
        d.Map(new CopyRule(), 5, 7, new Operand(Random(d, 5 * 9, 1), Layout.Full, 9, factor), output);
    });

    [Fact]
    public void NotANumberStaysWhereItIs()
    {
        Block x = device.Pool.Rent(40), y = device.Pool.Rent(40);
        var values = new float[40];
        (values[3], values[17], values[39]) = (float.NaN, float.PositiveInfinity, float.NegativeInfinity);
        device.Upload(values, x);
        device.Map(new CopyRule(), 1, 40, x, y);
        Assert.Equal(values, Download(device, y));
    }

    /// <summary>A comparison with NaN is false, and the lesser and greater of two is the second then, wherever the constant stands.</summary>
    [Fact]
    public void ComparesNotANumberAsTheReferenceDoes() => Compare("compared", 8 * Comparisons.Values.Length, 0, (d, output) =>
    {
        int count = Comparisons.Values.Length;
        Block x = d.Pool.Rent(count);
        d.Upload(Comparisons.Values, x);
        d.Map(new Comparisons(), 1, count, x, output.Slice(0, count), output.Slice(count, count), output.Slice(2 * count, count), output.Slice(3 * count, count));
        d.Map(new Choices(), 1, count, x, output.Slice(4 * count, count), output.Slice(5 * count, count), output.Slice(6 * count, count), output.Slice(7 * count, count));
    });

    [Theory]
    [MemberData(nameof(Rectangles))]
    public void RunsRowPrograms(int rows, int columns)
    {
        Compare("softmax", rows * columns, 1e-6, (d, output) =>
            d.RowProgram(new Softmax(), rows, columns, [Random(d, (long)rows * columns, 1), output, Operand.PerRow(d.Pool.Rent(rows)), Operand.PerColumn(d.Pool.Rent(columns))]));

        // An empty row has no statistic to write.
        Compare("statistic", columns == 0 ? 0 : rows, 1e-5, (d, output) =>
            d.RowProgram(new Softmax(), rows, columns, [Random(d, (long)rows * columns, 1), d.Pool.Rent((long)rows * columns), Operand.PerRow(columns == 0 ? d.Pool.Rent(rows) : output), Operand.PerColumn(d.Pool.Rent(columns))]));
        Compare("columns", columns, 1e-5, (d, output) =>
            d.RowProgram(new Softmax(), rows, columns, [Random(d, (long)rows * columns, 1), d.Pool.Rent((long)rows * columns), Operand.PerRow(d.Pool.Rent(rows)), Operand.PerColumn(output)]));
    }

    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(7, 33, 31)]
    [InlineData(31, 65, 128)]
    [InlineData(33, 1, 4097)]
    [InlineData(37, 131, 1100)]
    [InlineData(601, 33, 300)]
    [InlineData(19, 24, 20000)]
    [InlineData(5, 7, 0)]
    [InlineData(0, 7, 3)]
    public void MultipliesMatrices(int m, int n, int k)
    {
        foreach ((bool ta, bool tb) in ((bool, bool)[])[(false, false), (true, false), (false, true), (true, true)])
        {
            Compare($"product {ta} {tb}", 2 * m * n, 1e-5, (d, output) =>
            {
                Block a = Random(d, 2L * m * k, 1), b = Random(d, (long)n * k, 2), bias = Random(d, n, 3);
                d.Copy(Random(d, output.Length, 4), output);
                d.Gemm(
                    new GemmArguments(a, b, output, m, n, k) { TransposeA = ta, TransposeB = tb, Alpha = 0.5f, Beta = 2, Batch = 2, BatchStrideA = (long)m * k, BatchStrideC = (long)m * n },
                    new Mix(), Operand.PerColumn(bias));
            }, Math.Sqrt(Math.Max(k, 1)));
        }
    }

    [Fact]
    public void SmallMapsRunInTheirOrder()
    {
        // A device may let small maps wait for others with the same rule, but not for longer than anybody can see.
        const int Blocks = 7, Length = 33;
        Compare("small maps", Blocks * Length, 1e-5, (d, output) =>
        {
            var random = new Random(3);
            Block[] blocks = [.. Enumerable.Range(0, Blocks).Select(i => Random(d, Length, (ulong)i + 1))];
            Block scalar = Random(d, 1, 99), large = Random(d, 70_000, 98);
            for (int step = 0; step < 300; step++)
            {
                Block a = blocks[random.Next(Blocks)], b = blocks[random.Next(Blocks)];
                switch (random.Next(7))
                {
                    case 0 or 1 or 2:
                        d.Map(new Mix(), 1, Length, a, new Operand(b, Factor: scalar));
                        break;
                    case 3:
                        d.Map(new Mix(), 1, 1, a.Slice(5, 1), b.Slice(6, 1));
                        break;
                    case 4 when a != b:
                        d.Map(new SumAndLargest(), 1, Length, a, Operand.Scalar(b.Slice(0, 1)), Operand.Scalar(scalar));
                        d.Map(new Mix(), 1, 1, scalar, scalar);
                        break;
                    case 5:
                        d.Map(new Mix(), 1, large.Length, large, Operand.Scalar(a.Slice(1, 1)));
                        d.Copy(large.Slice(7, 1), b.Slice(2, 1));
                        break;
                    default:
                        Block temporary = d.Pool.Rent(Length);
                        d.Copy(a, temporary);
                        d.Map(new Mix(), 1, Length, b, temporary);
                        d.Pool.Return(temporary);
                        break;
                }

                // Numbers stay small.
                if (step % 10 == 9)
                    d.Random(blocks[random.Next(Blocks)], RandomKind.Normal, 1, 7, (ulong)step);
                d.Map(new Halve(), 1, 1, scalar);
                d.Map(new Halve(), 1, Length, a);
                d.Map(new Halve(), 1, Length, b);
            }

            for (int i = 0; i < Blocks; i++)
                d.Copy(blocks[i], output.Slice(i * Length, Length));
        });
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

    [Theory]
    [InlineData(RandomKind.Uniform)]
    [InlineData(RandomKind.Normal)]
    [InlineData(RandomKind.KeepMask)]
    public void DrawsTheSameNumbers(RandomKind kind)
    {
        foreach (int length in (int[])[1, 7, 33, 4097])
            Compare($"{kind}", length, 1e-6, (d, output) => d.Random(output, kind, 0.7f, seed: 5, stream: 11));
    }

    public void Dispose()
    {
        if (!isShared)
            device.Dispose();
        reference.Dispose();
        GC.SuppressFinalize(this);
    }

    private static Block Random(Device d, long length, ulong stream)
    {
        Block block = d.Pool.Rent(length);
        d.Random(block, RandomKind.Normal, 1, 42, stream);
        return block;
    }

    private static Block Indices(Device d, int[] values)
    {
        Block block = d.Pool.Rent(values.Length, DType.I32);
        d.Upload(values, block);
        return block;
    }

    private static float[] Download(Device d, Block block)
    {
        var values = new float[block.Length];
        d.Download(block, values);
        return values;
    }

    /// <summary>Runs the same on both devices; errors are relative to the largest value, sums also to <paramref name="terms"/>.</summary>
    private void Compare(string what, int length, double tolerance, Action<Device, Block> run, double terms = 1)
    {
        Block mine = device.Pool.Rent(length), theirs = reference.Pool.Rent(length);
        run(device, mine);
        run(reference, theirs);
        float[] actual = Download(device, mine), expected = Download(reference, theirs);
        double largest = Math.Max(terms, expected.Where(float.IsFinite).Select(value => Math.Abs((double)value)).DefaultIfEmpty(0).Max());
        for (int i = 0; i < length; i++)
            Assert.True(actual[i].Equals(expected[i]) || Math.Abs(actual[i] - expected[i]) <= tolerance * largest, $"{what}[{i}] of {length}: {actual[i]} instead of {expected[i]}");
    }

    private readonly struct Comparisons : IMap5
    {
        public static readonly float[] Values = [0, 1, 2, float.NaN, float.PositiveInfinity, float.NegativeInfinity, -1];

        public static Access Access => Access.Of(Slot.Read, Slot.Write, Slot.Write, Slot.Write, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L x, ref L lesser, ref L greater, ref L lesserThanOne, ref L greaterThanOne) where L : struct, ILane<L>
        {
            lesser = L.Min(L.Splat(1), x);
            greater = L.Max(L.Splat(1), x);
            lesserThanOne = L.Min(x, L.Splat(1));
            greaterThanOne = L.Max(x, L.Splat(1));
        }
    }

    private readonly struct Choices : IMap5
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Write, Slot.Write, Slot.Write, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L x, ref L more, ref L less, ref L same, ref L other) where L : struct, ILane<L>
        {
            more = L.Select(L.Less(L.Splat(1), x), L.Splat(3), L.Splat(4));
            less = L.Select(L.Less(x, L.Splat(1)), L.Splat(3), L.Splat(4));
            same = L.Select(L.Equal(L.Splat(1), x), L.Splat(3), L.Splat(4));
            other = L.Select(L.Equal(x, x), L.Splat(3), L.Splat(4));
        }
    }

    private readonly struct Halve : IMap1
    {
        public static Access Access => Access.Of(Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a) where L : struct, ILane<L> => a *= L.Splat(0.5f);
    }

    private readonly struct Mix : IMap2
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a, ref L b) where L : struct, ILane<L> => a = L.Tanh(a) + L.Splat(0.5f) * b;
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

    private readonly struct SumAndLargest : IMap3
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Sum, Slot.Max);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a, ref L sum, ref L largest) where L : struct, ILane<L> => (sum, largest) = (a, a);
    }

    private readonly struct Six : IMap6
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Read, Slot.Write, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a, ref L b, ref L c, ref L d, ref L e, ref L f) where L : struct, ILane<L>
        {
            e = L.Fma(a, b, c) + d;
            f = e;
        }
    }

    private readonly struct Softmax : IRowRule
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Write, Slot.Write, Slot.Sum);

        public static bool FirstIsMax => true;

        public static bool HasSecond => true;

        public L FirstTerm<L>(L a, L b, L c, L d, L e, L f) where L : struct, ILane<L> => a;

        public L First<L>(L total) where L : struct, ILane<L> => total;

        public L SecondTerm<L>(L first, L a, L b, L c, L d, L e, L f) where L : struct, ILane<L> => L.Exp(a - first);

        public L Second<L>(L first, L total) where L : struct, ILane<L> => total;

        public void Map<L>(L first, L second, ref L a, ref L b, ref L c, ref L d, ref L e, ref L f) where L : struct, ILane<L>
        {
            b = L.Exp(a - first) / second;
            c = second;
            d = b;
        }
    }
}

public class CpuDeviceTests() : DeviceTests(new CpuDevice(2));

public class CpuDevice256Tests() : DeviceTests(new CpuDevice(3, 256));

public class CpuDevice128Tests() : DeviceTests(new CpuDevice(1, 128));

[Collection("gpu"), Trait("device", "opencl")]
public class OpenClDeviceTests() : DeviceTests(Gpu.OpenCl(), isShared: true);

[Collection("gpu"), Trait("device", "cuda")]
public class CudaDeviceTests() : DeviceTests(Gpu.Cuda(), isShared: true);
