using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Tests.Devices;

/// <summary>
/// Operands that accumulate: bit for bit the old value plus what the same launch writes without accumulation. Stamped on each device below.
/// </summary>
public abstract class AccumulationTests(Device device, bool isShared = false, double tolerance = 0) : IDisposable
{
    public static TheoryData<int, int> Rectangles => new() { { 1, 1 }, { 1, 7 }, { 7, 1 }, { 1, 4097 }, { 33, 31 }, { 7, 513 }, { 130, 257 }, { 0, 5 }, { 5, 0 } };

    [Theory]
    [MemberData(nameof(Rectangles))]
    public void MapsAddToEachFlaggedOperandAndReplaceTheOthers(int rows, int columns)
    {
        // Two whole results, one of them strided, and a sum along each axis: every combination of flags.
        for (int flags = 0; flags < 8; flags++)
        {
            foreach (Layout layout in (Layout[])[Layout.PerRow, Layout.PerColumn, Layout.Scalar, Layout.RowsAndColumns])
            {
                long sums = layout switch { Layout.PerRow => rows, Layout.PerColumn => columns, Layout.Scalar => 1, _ => rows + columns };
                Check(flags, [(long)rows * columns, (long)rows * (columns + 3), sums], results => device.Map(new TwoAndSum(), rows, columns,
                    Random((long)rows * columns, 1), results[0], results[1] with { Stride = columns + 3 }, results[2] with { Layout = layout }));
            }
        }
    }

    [Theory]
    [MemberData(nameof(Rectangles))]
    public void RowProgramsAddToEachFlaggedOperandAndReplaceTheOthers(int rows, int columns)
    {
        for (int flags = 0; flags < 16; flags++)
        {
            Check(flags, [(long)rows * columns, rows, columns, (long)rows * columns], results => device.RowProgram(new CentredRows(), rows, columns,
                [Random((long)rows * columns, 1), results[0], results[1] with { Layout = Layout.PerRow }, results[2] with { Layout = Layout.PerColumn }, results[3]]));
        }
    }

    [Theory]
    [MemberData(nameof(Rectangles))]
    public void RowProgramsWithoutStatisticsAddInPlace(int rows, int columns)
    {
        for (int flags = 0; flags < 8; flags++)
        {
            Check(flags, [(long)rows * columns, columns, (long)rows * columns], results => device.RowProgram(new CentredColumns(), rows, columns,
                [Random((long)rows * columns, 1), results[0], results[1] with { Layout = Layout.PerColumn }, results[2]]));
        }
    }

    [Fact]
    public void NotANumberStaysWhereItWasAndReachesNoOther()
    {
        Block x = Random(40, 1), y = device.Pool.Rent(40), z = device.Pool.Rent(40), sum = device.Pool.Rent(1);
        var old = new float[40];
        (old[3], old[17]) = (float.NaN, float.PositiveInfinity);
        device.Upload(old, y);
        device.Upload(Enumerable.Repeat(float.NaN, 40).ToArray(), z);
        device.Fill(sum, float.NaN);
        device.Map(new TwoAndSum(), 1, 40, x, new Operand(y) { Accumulate = true }, z, Operand.Scalar(sum));
        float[] added = Download(y);
        Assert.Equal([3, 17], Enumerable.Range(0, 40).Where(i => !float.IsFinite(added[i])));
        Assert.True(float.IsNaN(added[3]) && float.IsPositiveInfinity(added[17]));
        Assert.All([.. Download(z), .. Download(sum)], value => Assert.True(float.IsFinite(value)));
    }

    [Fact]
    public void OnlyWhatIsWrittenOrSummedAccumulates()
    {
        Block x = device.Pool.Rent(6), y = device.Pool.Rent(6), bytes = device.Pool.Rent(1, 6, DType.I8), total = device.Pool.Rent(1);
        Operand adding = new Operand(x) { Accumulate = true };
        Assert.Contains("operand 0 accumulates", Assert.Throws<ArgumentException>(() => device.Map(new CopyRule(), 1, 6, adding, y)).Message, StringComparison.Ordinal);
        Assert.Contains("Update of F32", Assert.Throws<ArgumentException>(() => device.Map(new AddRule(), 1, 6, adding, y)).Message, StringComparison.Ordinal);
        Assert.Contains("Write of I8", Assert.Throws<ArgumentException>(() => device.Map(new CopyRule(), 1, 6, y, new Operand(bytes) { Accumulate = true })).Message, StringComparison.Ordinal);
        Assert.Contains("it is Max", Assert.Throws<ArgumentException>(() => device.Map(new Largest(), 1, 6, x, Operand.Scalar(total) with { Accumulate = true })).Message, StringComparison.Ordinal);
        Assert.Contains("Beta", Assert.Throws<ArgumentException>(() => device.Gemm(new GemmArguments(x, y, y, 1, 6, 1), new KeepBoth(), adding)).Message, StringComparison.Ordinal);
    }

    public void Dispose()
    {
        if (!isShared)
            device.Dispose();
        GC.SuppressFinalize(this);
    }

    private void Check(int flags, long[] lengths, Action<Operand[]> run)
    {
        Block[] plain = [.. lengths.Select(length => device.Pool.Rent(length))], added = [.. lengths.Select(length => device.Pool.Rent(length))];
        float[][] old = new float[lengths.Length][];
        for (int k = 0; k < lengths.Length; k++)
        {
            device.Random(added[k], RandomKind.Normal, 1, 43, (ulong)k);
            device.Copy(added[k], plain[k]);
            old[k] = Download(added[k]);
        }

        run([.. plain.Select(block => new Operand(block))]);
        run([.. added.Select((block, k) => new Operand(block) { Accumulate = (flags & 1 << k) != 0 })]);
        for (int k = 0; k < lengths.Length; k++)
        {
            float[] expected = Download(plain[k]), actual = Download(added[k]);
            for (int i = 0; i < expected.Length; i++)
            {
                // What a stride leaves out stays as it was in both.
                bool isGap = expected[i].Equals(old[k][i]);
                float sum = (flags & 1 << k) == 0 || isGap ? expected[i] : old[k][i] + expected[i];
                Assert.True(actual[i].Equals(sum) || Math.Abs(actual[i] - sum) <= tolerance * Math.Max(1, Math.Abs(sum)), $"flags {flags}, result {k}[{i}] of {expected.Length}: {actual[i]} instead of {sum}");
            }
        }

        foreach (Block block in (Block[])[.. plain, .. added])
            device.Pool.Return(block);
    }

    private Block Random(long length, ulong stream)
    {
        Block block = device.Pool.Rent(length);
        device.Random(block, RandomKind.Normal, 1, 42, stream);
        return block;
    }

    private float[] Download(Block block)
    {
        var values = new float[block.Length];
        device.Download(block, values);
        return values;
    }

    // The last operation of each rule is no product, which a compiler could fuse with the addition.
    private readonly struct TwoAndSum : IMap4
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Write, Slot.Write, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L x, ref L one, ref L two, ref L sum) where L : struct, ILane<L>
        {
            one = x + L.Splat(2);
            two = L.Abs(x);
            sum = x - L.Splat(0.5f);
        }
    }

    private readonly struct KeepBoth : IMap2
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L c, ref L copy) where L : struct, ILane<L> => copy = c;
    }

    private readonly struct Largest : IMap2
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Max);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L x, ref L largest) where L : struct, ILane<L> => largest = x;
    }

    /// <summary>Each row less its sum, that sum, the sums of columns, and the absolute values.</summary>
    private readonly struct CentredRows : IRowRule
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Write, Slot.Write, Slot.Sum, Slot.Write);

        public static bool FirstIsMax => false;

        public static bool HasSecond => true;

        public L FirstTerm<L>(L a, L b, L c, L d, L e, L f) where L : struct, ILane<L> => a;

        public L First<L>(L total) where L : struct, ILane<L> => total;

        public L SecondTerm<L>(L first, L a, L b, L c, L d, L e, L f) where L : struct, ILane<L> => L.Abs(a);

        public L Second<L>(L first, L total) where L : struct, ILane<L> => total;

        public void Map<L>(L first, L second, ref L a, ref L b, ref L c, ref L d, ref L e, ref L f) where L : struct, ILane<L>
        {
            b = a - first;
            c = second;
            d = b;
            e = L.Abs(a);
        }
    }

    private readonly struct CentredColumns : IRowRule
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Write, Slot.Sum, Slot.Write);

        public static bool FirstIsMax => false;

        public static bool HasSecond => true;

        public L FirstTerm<L>(L a, L b, L c, L d, L e, L f) where L : struct, ILane<L> => a;

        public L First<L>(L total) where L : struct, ILane<L> => total;

        public L SecondTerm<L>(L first, L a, L b, L c, L d, L e, L f) where L : struct, ILane<L> => L.Abs(a);

        public L Second<L>(L first, L total) where L : struct, ILane<L> => total;

        public void Map<L>(L first, L second, ref L a, ref L b, ref L c, ref L d, ref L e, ref L f) where L : struct, ILane<L>
        {
            b = a - first;
            c = b;
            d = second - L.Abs(a);
        }
    }
}

public class CpuAccumulationTests() : AccumulationTests(new CpuDevice(2));

public class Cpu256AccumulationTests() : AccumulationTests(new CpuDevice(3, 256));

public class Cpu128AccumulationTests() : AccumulationTests(new CpuDevice(1, 128));

public class ReferenceAccumulationTests() : AccumulationTests(new ReferenceDevice(), tolerance: 1e-6);

[Collection("gpu"), Trait("device", "opencl")]
public class OpenClAccumulationTests() : AccumulationTests(Gpu.OpenCl(), isShared: true);

[Collection("gpu"), Trait("device", "opencl")]
public class OpenClGpuAccumulationTests() : AccumulationTests(Gpu.OpenClWithKernelsOfGpus(), isShared: true);

[Collection("gpu"), Trait("device", "cuda")]
public class CudaAccumulationTests() : AccumulationTests(Gpu.Cuda(), isShared: true);
