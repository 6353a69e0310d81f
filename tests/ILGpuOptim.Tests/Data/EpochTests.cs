using ILGpuOptim.Data;

namespace ILGpuOptim.Tests.Data;

/// <summary>Windows without replacement.</summary>
public class EpochTests
{
    [Fact]
    public void EveryNumberComesOnce()
    {
        var order = new SeededPermutation(7, 1);
        foreach (int count in Enumerable.Range(1, 130).Concat([255, 256, 257, 1000, 4099, 65_536]))
        {
            for (ulong number = 0; number < 3; number++)
                Assert.Equal(Enumerable.Range(0, count).Select(i => (long)i), Enumerable.Range(0, count).Select(i => order.At(number, count, i)).Order());
        }
    }

    [Fact]
    public void PermutationsDependOnSeedStreamAndNumberAlone()
    {
        long[] Elements(ulong seed, ulong stream, ulong number) => [.. Enumerable.Range(0, 50).Select(i => new SeededPermutation(seed, stream).At(number, 50, i))];
        Assert.Equal(Elements(1, 2, 3), Elements(1, 2, 3));
        Assert.NotEqual(Elements(1, 2, 3), Elements(2, 2, 3));
        Assert.NotEqual(Elements(1, 2, 3), Elements(1, 3, 3));
        Assert.NotEqual(Elements(1, 2, 3), Elements(1, 2, 4));

        // The order of calls, and those of other permutations between them, change nothing.
        var one = new SeededPermutation(1, 2);
        long[] mixed = new long[50];
        for (int i = 49; i >= 0; i--)
        {
            mixed[i] = one.At(3, 50, i);
            one.At((ulong)i, 31, 30);
        }

        Assert.Equal(Elements(1, 2, 3), mixed);
        Assert.Throws<ArgumentOutOfRangeException>(() => one.At(0, 5, 5));
        Assert.Throws<ArgumentOutOfRangeException>(() => one.At(0, 5, -1));
        Assert.Throws<ArgumentOutOfRangeException>(() => one.At(0, 0, 0));
    }

    /// <summary>Computed apart from this code; resumed runs of older versions must see the same data.</summary>
    [Fact]
    public void PermutationsAreThoseOfEarlierVersions()
    {
        var order = new SeededPermutation(1337, 42);
        Assert.Equal(RecordedSmall, Enumerable.Range(0, 10).Select(i => order.At(5, 10, i)));
        Assert.Equal(RecordedLarge, Enumerable.Range(0, 5).Select(i => order.At(1_000_003, 1_000_000_000_007, i)));
    }

    private static readonly long[] RecordedSmall = [0, 4, 8, 7, 5, 2, 9, 6, 1, 3];
    private static readonly long[] RecordedLarge = [813448961265, 681450622705, 295134783724, 697149692352, 771337464495];

    /// <summary>All n! orders are as frequent: chi square with n! − 1 degrees of freedom, below its mean by five standard deviations at most.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    public void EveryOrderIsAsLikely(int count)
    {
        int orders = Enumerable.Range(1, count).Aggregate(1, (product, i) => product * i), draws = orders * 200;
        var found = new Dictionary<string, int>();
        var order = new SeededPermutation(11, 5);
        for (int number = 0; number < draws; number++)
        {
            string text = string.Concat(Enumerable.Range(0, count).Select(i => order.At((ulong)number, count, i)));
            found[text] = found.GetValueOrDefault(text) + 1;
        }

        Assert.Equal(orders, found.Count);
        Assert.InRange(found.Values.Sum(n => (n - 200.0) * (n - 200.0) / 200), 0, orders - 1 + (5 * Math.Sqrt(2.0 * Math.Max(1, orders - 1))));
    }

    /// <summary>
    /// Where an element goes, and how far apart neighbours land, are evenly distributed: chi square over 100 places in 20 000 permutations, its mean 99 and its
    /// standard deviation 14.
    /// </summary>
    [Fact]
    public void PlacesAndDistancesAreEven()
    {
        var order = new SeededPermutation(3, 9);
        int[] first = new int[100], last = new int[100], distances = new int[100];
        for (ulong number = 0; number < 20_000; number++)
        {
            first[order.At(number, 100, 0)]++;
            last[order.At(number, 100, 99)]++;
            distances[(order.At(number, 100, 41) - order.At(number, 100, 40) + 100) % 100]++;
        }

        double Chi(IEnumerable<int> counts, int expected) => counts.Sum(n => (double)(n - expected) * (n - expected) / expected);
        Assert.InRange(Chi(first, 200), 40, 170);
        Assert.InRange(Chi(last, 200), 40, 170);
        Assert.Equal(0, distances[0]);
        Assert.InRange(distances[1..].Sum(n => (n - (20_000 / 99.0)) * (n - (20_000 / 99.0)) / (20_000 / 99.0)), 40, 170);
    }

    [Theory]
    [InlineData(8, 7)]
    [InlineData(13, 7)]
    [InlineData(14, 7)]
    [InlineData(15, 7)]
    [InlineData(21, 7)]
    [InlineData(1000, 7)]
    [InlineData(1000, 1)]
    [InlineData(2, 1)]
    [InlineData(1024, 64)]
    [InlineData(1023, 64)]
    public void AnEpochHasEachOfItsWindowsOnce(int length, int block)
    {
        var windows = new EpochWindows(block, 5);
        long count = windows.Count(length);
        Assert.Equal(Math.Max(1, length / block - 1), count);
        var firsts = new HashSet<long>();
        for (long epoch = 0; epoch < 400; epoch++)
        {
            long[] starts = [.. Enumerable.Range(0, (int)count).Select(i => windows.Start(length, (ulong)(epoch * count + i))).Order()];
            Assert.InRange(starts[0], 0, length - (count * block) - 1);
            Assert.Equal(Enumerable.Range(0, (int)count).Select(i => starts[0] + (i * block)), starts);
            Assert.True(starts[^1] + block < length);
            firsts.Add(starts[0]);
        }

        // Boundaries take every place that the tokens left over allow, at least 100 draws for each.
        if (length - (count * block) <= 4)
            Assert.Equal(length - (count * block), firsts.Count);
        else
            Assert.True(firsts.Count >= Math.Min(50, (length - (count * block)) * 2 / 3));
    }

    /// <summary>Batches of an epoch, whatever their size, hold the same windows; the next epoch begins within a batch.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(141)]
    [InlineData(300)]
    public void BatchesFollowTheEpochs(int rows)
    {
        TokenSequence tokens = TokenSequence.From([.. Enumerable.Range(0, 1000)]);
        var sampler = new BatchSampler(7, rows, 3, Sampling.Epochs);
        var windows = new EpochWindows(7, 3);
        int[] inputs = new int[rows * 7], targets = new int[rows * 7];
        var seen = new List<long>();
        for (ulong batch = 0; seen.Count < 3 * 141; batch++)
        {
            sampler.Fill(tokens, 0, batch, inputs, targets);
            Assert.Equal(inputs.Select(id => id + 1), targets);
            seen.AddRange(Enumerable.Range(0, rows).Select(row => (long)inputs[row * 7]));
        }

        Assert.Equal(141, windows.Count(1000));
        Assert.Equal(Enumerable.Range(0, 3 * 141).Select(i => windows.Start(1000, (ulong)i)), seen.Take(3 * 141));
        for (int epoch = 0; epoch < 3; epoch++)
            Assert.Equal(141, seen.Skip(epoch * 141).Take(141).Distinct().Count());
        Assert.NotEqual(seen.Take(141).Order(), seen.Skip(141).Take(141).Order());
        Assert.Equal(1.5, sampler.Epochs(1000, 1.5 * 141 / rows), 12);
    }

    [Fact]
    public void FillingAllocatesNothing()
    {
        TokenSequence tokens = TokenSequence.From([.. Enumerable.Range(0, 1000)]);
        var sampler = new BatchSampler(16, 4, 1, Sampling.Epochs);
        int[] inputs = new int[64], targets = new int[64];
        sampler.Fill(tokens, 0, 0, inputs, targets);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (ulong i = 0; i < 100; i++)
            sampler.Fill(tokens, 0, i, inputs, targets);
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }
}
