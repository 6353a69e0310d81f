using ILGpuOptim.Data;

namespace ILGpuOptim.Tests.Data;

public class BatchSamplerTests
{
    private static TokenSequence Counting(int length) => TokenSequence.From([.. Enumerable.Range(0, length)]);

    private static (int[] Inputs, int[] Targets) Fill(ulong seed, ulong stream, ulong batch, int length = 1000, int block = 7, int rows = 5)
    {
        int[] inputs = new int[rows * block], targets = new int[rows * block];
        new BatchSampler(block, rows, seed).Fill(Counting(length), stream, batch, inputs, targets);
        return (inputs, targets);
    }

    [Fact]
    public void ABatchDependsOnSeedStreamAndNumberAlone()
    {
        Assert.Equal(Fill(1, 0, 41).Inputs, Fill(1, 0, 41).Inputs);
        Assert.Equal(Fill(1, 0, 41).Targets, Fill(1, 0, 41).Targets);
        Assert.NotEqual(Fill(1, 0, 41).Inputs, Fill(2, 0, 41).Inputs);
        Assert.NotEqual(Fill(1, 0, 41).Inputs, Fill(1, 1, 41).Inputs);
        Assert.NotEqual(Fill(1, 0, 41).Inputs, Fill(1, 0, 42).Inputs);
    }

    /// <summary>Computed apart from this code; resumed runs of older versions must see the same data.</summary>
    [Fact]
    public void StartsAreThoseOfEarlierVersions()
    {
        var sampler = new BatchSampler(7, 3, 1337);
        long[] starts = [.. Enumerable.Range(0, 6).Select(i => sampler.Start(1_000_007, 0, (ulong)(i / 3), i % 3))];
        Assert.Equal(Recorded, starts);
    }

    private static readonly long[] Recorded = [355742, 215558, 474494, 403030, 616757, 38975];

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(33)]
    public void TargetsAreTheInputsMovedByOne(int block)
    {
        (int[] inputs, int[] targets) = Fill(3, 0, 0, 100, block);
        Assert.Equal(inputs.Select(id => id + 1), targets);
        for (int i = 1; i < inputs.Length; i++)
            Assert.True(i % block == 0 || inputs[i] == inputs[i - 1] + 1);
    }

    [Fact]
    public void TheOnlyWindowIsAlwaysDrawn()
    {
        (int[] inputs, int[] targets) = Fill(9, 0, 3, 8, 7, 2);
        Assert.Equal([0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6], inputs);
        Assert.Equal(7, targets[6]);
        Assert.Throws<ArgumentException>(() => Fill(9, 0, 3, 7, 7, 2));
    }

    /// <summary>Each of 50 windows comes 400 times; a deviation of 5 standard deviations is 100.</summary>
    [Fact]
    public void EveryWindowIsAsLikely()
    {
        var sampler = new BatchSampler(10, 8, 7);
        var counts = new int[50];
        for (ulong batch = 0; batch < 2500; batch++)
        {
            for (int row = 0; row < 8; row++)
                counts[sampler.Start(60, 1, batch, row)]++;
        }

        Assert.All(counts, count => Assert.InRange(count, 300, 500));
    }

    [Fact]
    public void FillingAllocatesNothing()
    {
        TokenSequence tokens = Counting(1000);
        var sampler = new BatchSampler(16, 4, 1);
        int[] inputs = new int[64], targets = new int[64];
        var windows = new SequentialWindows(tokens, 16, 5);
        sampler.Fill(tokens, 0, 0, inputs, targets);
        windows.Fill(0, inputs, targets);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (ulong i = 0; i < 100; i++)
        {
            sampler.Fill(tokens, 0, i, inputs, targets);
            windows.Fill((long)i, inputs, targets);
        }

        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    [Theory]
    [InlineData(2, 1, 0)]
    [InlineData(2, 7, 0)]
    [InlineData(8, 7, 0)]
    [InlineData(9, 7, 0)]
    [InlineData(9, 7, 1)]
    [InlineData(33, 7, 3)]
    [InlineData(100, 10, 10)]
    [InlineData(101, 10, 5)]
    [InlineData(102, 10, 9)]
    public void SequentialWindowsPredictEachTokenOnce(int length, int block, int stride)
    {
        var windows = new SequentialWindows(Counting(length), block, stride);
        int[] inputs = new int[block], targets = new int[block];
        var predicted = new List<int>();
        for (long window = 0; window < windows.Count; window++)
        {
            int counted = windows.Fill(window, inputs, targets);
            Assert.Equal(counted, targets.Count(target => target != SequentialWindows.Ignored));
            Assert.True(counted > 0);
            for (int i = 0; i < block; i++)
            {
                if (targets[i] == SequentialWindows.Ignored)
                    continue;
                Assert.Equal(inputs[i] + 1, targets[i]);
                Assert.True(window == 0 || i >= block - (stride == 0 ? block : stride));
                predicted.Add(targets[i]);
            }
        }

        Assert.Equal(Enumerable.Range(1, length - 1), predicted);
        Assert.Equal(length - 1, windows.Targets);
        Assert.Equal(0, windows.Fill(windows.Count, inputs, targets));
        Assert.All(targets, target => Assert.Equal(SequentialWindows.Ignored, target));
    }

    [Fact]
    public void SenselessWindowsAreRefused()
    {
        Assert.Contains("1 tokens are too few", Assert.Throws<UserException>(() => new SequentialWindows(Counting(1), 4)).Message);
        Assert.Contains("a stride of 5", Assert.Throws<UserException>(() => new SequentialWindows(Counting(9), 4, 5)).Message);
        Assert.Throws<UserException>(() => new SequentialWindows(Counting(9), 4, -1));
    }
}
