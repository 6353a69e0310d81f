using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Tests.Devices;

/// <summary>Maps, sums, row programs, products and random numbers of a device against the reference device. Stamped on each device below.</summary>
public abstract class DeviceTests(Device device, bool isShared = false) : DeviceComparison(device, isShared)
{
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
            Compare($"sum {layout}", count, 2e-6, (d, output) =>
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
        Block x = Tested.Pool.Rent(40), y = Tested.Pool.Rent(40);
        var values = new float[40];
        (values[3], values[17], values[39]) = (float.NaN, float.PositiveInfinity, float.NegativeInfinity);
        Tested.Upload(values, x);
        Tested.Map(new CopyRule(), 1, 40, x, y);
        Assert.Equal(values, Download(Tested, y));
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
        Compare("statistic", columns == 0 ? 0 : rows, 1e-6, (d, output) =>
            d.RowProgram(new Softmax(), rows, columns, [Random(d, (long)rows * columns, 1), d.Pool.Rent((long)rows * columns), Operand.PerRow(columns == 0 ? d.Pool.Rent(rows) : output), Operand.PerColumn(d.Pool.Rent(columns))]));
        Compare("columns", columns, 1e-6, (d, output) =>
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
        Compare("small maps", Blocks * Length, 5e-7, (d, output) =>
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

    [Theory]
    [InlineData(RandomKind.Uniform)]
    [InlineData(RandomKind.Normal)]
    [InlineData(RandomKind.KeepMask)]
    public void DrawsTheSameNumbers(RandomKind kind)
    {
        foreach (int length in (int[])[1, 7, 33, 4097])
            Compare($"{kind}", length, 1e-6, (d, output) => d.Random(output, kind, 0.7f, seed: 5, stream: 11));
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
