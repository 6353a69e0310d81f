using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Tests.Devices;

/// <summary>
/// Results and operands in bf16 of a device against the reference device, whose results are exact until they are rounded once. Stamped on each device
/// below.
/// </summary>
public abstract class DeviceNarrowTests(Device device, bool isShared = false) : DeviceComparison(device, isShared)
{
    public static TheoryData<int, int, int> Products => new()
    {
        { 1, 1, 1 }, { 3, 33, 31 }, { 4, 257, 129 }, { 7, 33, 31 }, { 31, 65, 128 }, { 33, 1, 4097 }, { 37, 131, 1100 }, { 300, 200, 40 }, { 601, 33, 300 }, { 19, 24, 20000 }, { 5, 7, 0 }, { 0, 7, 3 },
    };

    [Theory]
    [MemberData(nameof(Products))]
    public void RoundsProductsOnce(int m, int n, int k)
    {
        foreach ((bool ta, bool tb) in ((bool, bool)[])[(false, false), (true, false), (false, true), (true, true)])
        {
            foreach (bool narrow in (bool[])[false, true])
            {
                GemmArguments Product(Device d, Block output, int batch)
                {
                    d.Copy(Random(d, output.Length, 4), output);
                    return new GemmArguments(Numbers(d, (long)batch * m * k, 1, narrow), Numbers(d, (long)n * k, 2, narrow), output, m, n, k) { TransposeA = ta, TransposeB = tb };
                }

                string what = $"product {ta} {tb} {narrow}";
                CompareNarrow(what, m * n, (d, output) => d.Gemm(Product(d, output, 1)), Math.Sqrt(Math.Max(k, 1)));
                CompareNarrow($"{what} with an epilogue", 2 * m * n, (d, output) => d.Gemm(
                    Product(d, output, 2) with { Alpha = 0.5f, Beta = 2, Batch = 2, BatchStrideA = (long)m * k, BatchStrideC = (long)m * n },
                    new Mix(), Operand.PerColumn(Numbers(d, n, 3, narrow))), Math.Sqrt(Math.Max(k, 1)));
                CompareNarrow($"{what} added", m * n, (d, output) => d.Gemm(Product(d, output, 1) with { Beta = 1 }, new AddRule(), Numbers(d, (long)m * n, 3, narrow)), Math.Sqrt(Math.Max(k, 1)));
            }
        }
    }

    /// <summary>Columns beside the result, between its rows, stay.</summary>
    [Fact]
    public void WritesRowsApart() => CompareNarrow("rows apart", 9 * 40, (d, output) =>
    {
        d.Copy(Random(d, output.Length, 4), output);
        d.Gemm(new GemmArguments(Numbers(d, 9 * 17, 1, true), Numbers(d, 17 * 25, 2, false), output, 9, 25, 17) { StrideC = 40 }, new AddRule(), Operand.PerColumn(Numbers(d, 25, 3, true)));
    }, 5);

    [Theory]
    [MemberData(nameof(DeviceTests.Rectangles), MemberType = typeof(DeviceTests))]
    public void MapsAndAccumulates(int rows, int columns)
    {
        CompareNarrow("map", rows * columns, (d, output) =>
        {
            d.Copy(Random(d, output.Length, 4), output);
            d.Map(new Mix(), rows, columns, output, Operand.PerColumn(Numbers(d, columns, 2, true)));
            d.Map(new CopyRule(), rows, columns, Numbers(d, output.Length, 3, true), new Operand(output) { Accumulate = true });
        });
        foreach (Layout layout in (Layout[])[Layout.PerRow, Layout.PerColumn, Layout.Scalar])
        {
            int count = layout switch { Layout.PerRow => rows, Layout.PerColumn => columns, _ => 1 };
            foreach (bool accumulate in (bool[])[false, true])
            {
                CompareNarrow($"sum {layout} {accumulate}", count, (d, output) =>
                {
                    d.Copy(Random(d, output.Length, 4), output);
                    d.Map(new Total(), rows, columns, Numbers(d, (long)rows * columns, 1, true), new Operand(output, layout) { Accumulate = accumulate });
                }, Math.Sqrt((double)rows * columns));
            }
        }
    }

    [Theory]
    [MemberData(nameof(DeviceTests.Rectangles), MemberType = typeof(DeviceTests))]
    public void RunsRowPrograms(int rows, int columns)
    {
        foreach (bool accumulate in (bool[])[false, true])
        {
            CompareNarrow($"row program {accumulate}", rows * columns, (d, output) =>
            {
                d.Copy(Random(d, output.Length, 4), output);
                d.RowProgram(new Centered(), rows, columns, [Numbers(d, output.Length, 1, true), new Operand(output) { Accumulate = accumulate }, Operand.PerColumn(d.Pool.Rent(columns))]);
            });
        }
    }

    [Fact]
    public void NotANumberAndInfinityStayWhereTheyAre()
    {
        float[] values = new float[5 * 40];
        (values[3], values[57], values[139]) = (float.NaN, float.PositiveInfinity, float.NegativeInfinity);
        Block x = Tested.Pool.Rent(values.Length, DType.BF16), y = Tested.Pool.Rent(values.Length, DType.BF16), one = Tested.Pool.Rent(1, DType.BF16);
        Tested.Upload(values, x);
        Tested.Upload([1f], one);
        Tested.Map(new CopyRule(), 5, 40, x, y);
        Assert.Equal(values, Download(Tested, y));

        // A product with one column and row, so that nothing else is multiplied by them; 3.4e38 rounds to infinity.
        values[7] = float.MaxValue;
        Tested.Upload(values, x);
        Tested.Gemm(new GemmArguments(x, one, y, values.Length, 1, 1));
        values[7] = float.PositiveInfinity;
        Assert.Equal(values, Download(Tested, y));
    }

    [Fact]
    public void MovesByIndexAndRotates()
    {
        int[] maybe = [2, -1, 0, 32, -1];
        Compare("pick", 5, 0, (d, output) => d.Pick(Numbers(d, 5 * 33, 1, true), Indices(d, maybe), output, 33));
        CompareNarrow("add at", 5 * 33, (d, output) =>
        {
            d.Copy(Random(d, output.Length, 4), output);
            d.AddAt(output, Indices(d, maybe), Random(d, 5, 1), 33);
        });
        int[] rows = [2, 0, 2, 2, 1];
        foreach (bool narrow in (bool[])[false, true])
        {
            foreach (bool accumulate in (bool[])[false, true])
            {
                CompareNarrow($"gather {narrow} {accumulate}", 5 * 133, (d, output) =>
                {
                    d.Copy(Random(d, output.Length, 4), output);
                    d.Gather(Numbers(d, 3 * 133, 1, narrow), Indices(d, rows), output, 133, accumulate);
                });
            }
        }

        Compare("scatter", 33 * 7, 1e-6, (d, output) =>
        {
            d.Fill(output, 0);
            d.ScatterAdd(Numbers(d, 5 * 7, 1, true), Indices(d, maybe), output, 7);
        });
        CompareNarrow("rotated", 67 * 60, (d, output) =>
        {
            d.Copy(Random(d, output.Length, 4), output);
            d.Rotate(new RotationArguments(output, Random(d, 67 * 10, 2)) { Rows = 67, Heads = 3, HeadSize = 12, RotatedSize = 10, HeadStride = 17, Stride = 60 });
        });
    }

    protected static Block Numbers(Device d, long length, ulong stream, bool narrow)
    {
        Block numbers = Random(d, length, stream);
        if (!narrow)
            return numbers;
        Block block = d.Pool.Rent(length, DType.BF16);
        d.Copy(numbers, block);
        return block;
    }

    /// <summary>
    /// Runs the same on both devices, with a bf16 output. An error of f32 before the rounding turns it where the exact result lies between two numbers:
    /// few elements may differ, by one in the last of eight digits. If results were rounded twice, many would.
    /// </summary>
    private void CompareNarrow(string what, int length, Action<Device, Block> run, double terms = 1)
    {
        Block mine = Tested.Pool.Rent(length, DType.BF16), theirs = Reference.Pool.Rent(length, DType.BF16);
        run(Tested, mine);
        run(Reference, theirs);
        float[] actual = Download(Tested, mine), expected = Download(Reference, theirs);
        int different = 0;
        for (int i = 0; i < length; i++)
        {
            if (actual[i].Equals(expected[i]))
                continue;
            different++;
            Assert.True(Math.Abs(actual[i] - expected[i]) <= Math.Abs(expected[i]) / 128 + 1e-5 * terms, $"{what}[{i}] of {length}: {actual[i]} instead of {expected[i]}");
        }

        Assert.True(different <= 2 + length / 100, $"{what}: {different} of {length} elements are rounded otherwise");
    }

    private readonly struct Total : IMap2
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a, ref L b) where L : struct, ILane<L> => b = a;
    }

    /// <summary>y = x - mean of the row; and a sum over each column.</summary>
    private readonly struct Centered : IRowRule
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Write, Slot.Sum);

        public static bool FirstIsMax => false;

        public static bool HasSecond => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L FirstTerm<L>(L x, L y, L sum, L d, L e, L f) where L : struct, ILane<L> => x;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L First<L>(L total) where L : struct, ILane<L> => total * L.Splat(0.01f);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L SecondTerm<L>(L first, L x, L y, L sum, L d, L e, L f) where L : struct, ILane<L> => default;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Second<L>(L first, L total) where L : struct, ILane<L> => default;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Map<L>(L first, L second, ref L x, ref L y, ref L sum, ref L d, ref L e, ref L f) where L : struct, ILane<L>
        {
            y = x - first;
            sum = x;
        }
    }
}

public class CpuDeviceNarrowTests() : DeviceNarrowTests(new CpuDevice(2));

public class CpuDeviceNarrow256Tests() : DeviceNarrowTests(new CpuDevice(3, 256));

public class CpuDeviceNarrow128Tests() : DeviceNarrowTests(new CpuDevice(1, 128));

[Collection("gpu"), Trait("device", "opencl")]
public class OpenClDeviceNarrowTests() : DeviceNarrowTests(Gpu.OpenCl(), isShared: true);

[Collection("gpu"), Trait("device", "cuda")]
public class CudaDeviceNarrowTests() : DeviceNarrowTests(Gpu.Cuda(), isShared: true);
