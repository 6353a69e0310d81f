using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Tests.Cpu;

/// <summary>Sums of maps and row programs, and random numbers, are the same bits with any number of threads, and in both directions of large maps.</summary>
public class ThreadTests
{
    public static TheoryData<int, int> Rectangles => new()
    {
        { 1, 1 }, { 1, 4097 }, { 4097, 1 }, { 31, 33 }, { 7, 20000 }, { 513, 768 }, { 1000, 65 },
    };

    [Theory]
    [MemberData(nameof(Rectangles))]
    public void MapsSumAlike(int rows, int columns)
    {
        foreach (Layout layout in (Layout[])[Layout.PerRow, Layout.PerColumn, Layout.Scalar, Layout.RowsAndColumns])
        {
            int sums = layout switch { Layout.PerRow => rows, Layout.PerColumn => columns, Layout.RowsAndColumns => rows + columns, _ => 1 };
            AssertAlike($"{layout}", rows * columns + sums, (device, output) =>
            {
                Block x = Normal(device, rows * columns), whole = output.Slice(0, rows * columns);
                device.Map(new HalveAndSum(), rows, columns, x, whole, new Operand(output.Slice(rows * columns, sums), layout));
            });
        }
    }

    [Theory]
    [MemberData(nameof(Rectangles))]
    public void RowProgramsSumAlike(int rows, int columns) => AssertAlike("layer norm", rows * columns + columns, (device, output) =>
    {
        Block x = Normal(device, rows * columns);
        device.RowProgram(new Normalise(columns), rows, columns, [x, output.Slice(0, rows * columns), Operand.PerColumn(output.Slice(rows * columns, columns))]);
    });

    [Fact]
    public void RandomNumbersAreAlike() => AssertAlike("normal", 40_001, (device, output) => device.Random(output, RandomKind.Normal, 2, 7, 3));

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void HostLoopsUseTheDevicesThreads(int threads)
    {
        using var device = new CpuDevice(threads);
        var calls = new int[1000];
        var used = new HashSet<int>();
        device.ForEachOnHost(calls.Length, index =>
        {
            Interlocked.Increment(ref calls[index]);
            lock (used)
                used.Add(Environment.CurrentManagedThreadId);
        });
        Assert.All(calls, count => Assert.Equal(1, count));
        Assert.InRange(used.Count, 1, threads);
    }

    private static Block Normal(Device device, long length)
    {
        Block block = device.Pool.Rent(length);
        device.Random(block, RandomKind.Normal, 1, 5, 0);
        return block;
    }

    private static void AssertAlike(string what, int length, Action<Device, Block> run)
    {
        float[]? first = null;
        foreach (int threads in (int[])[1, 2, 3])
        {
            using var device = new CpuDevice(threads);
            Block output = device.Pool.Rent(length);
            foreach (string direction in (string[])["backwards", "forwards"])
            {
                run(device, output);
                var result = new float[length];
                device.Download(output, result);
                first ??= result;
                Assert.True(first.AsSpan().SequenceEqual(result), $"{what}: {threads} threads, {direction}, give other bits than one thread backwards");
            }
        }
    }

    private readonly struct HalveAndSum : IMap3
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Write, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L x, ref L half, ref L sum) where L : struct, ILane<L>
        {
            half = x * L.Splat(0.5f);
            sum = L.Exp(x);
        }
    }

    private readonly struct Normalise(float columns) : IRowRule
    {
        private readonly float perColumn = 1 / columns;

        public static Access Access => Access.Of(Slot.Read, Slot.Write, Slot.Sum);

        public static bool FirstIsMax => false;

        public static bool HasSecond => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L FirstTerm<L>(L a, L b, L c, L d, L e, L f) where L : struct, ILane<L> => a;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L First<L>(L total) where L : struct, ILane<L> => total * L.Splat(perColumn);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L SecondTerm<L>(L first, L a, L b, L c, L d, L e, L f) where L : struct, ILane<L> => (a - first) * (a - first);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Second<L>(L first, L total) where L : struct, ILane<L> => L.Splat(1) / L.Sqrt(L.Fma(total, L.Splat(perColumn), L.Splat(1e-5f)));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Map<L>(L first, L second, ref L a, ref L b, ref L c, ref L d, ref L e, ref L f) where L : struct, ILane<L>
        {
            b = (a - first) * second;
            c = b * b;
        }
    }
}
