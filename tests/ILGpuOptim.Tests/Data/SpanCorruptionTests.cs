using ILGpuOptim.Data;

namespace ILGpuOptim.Tests.Data;

/// <summary>Hidden spans: how many tokens, where, and that input and target together are the text.</summary>
public class SpanCorruptionTests
{
    private const int End = 1000, Padding = 1001, FirstSentinel = 2000;

    /// <summary>Counts as the paper's implementation has them: 512 tokens hide 77 in 26 spans.</summary>
    [Theory]
    [InlineData(512, 0.15, 3, 77, 26)]
    [InlineData(568, 0.15, 3, 85, 28)]
    [InlineData(64, 0.15, 3, 10, 3)]
    [InlineData(100, 0.5, 1, 50, 50)]
    [InlineData(100, 0.9, 1, 90, 10)]
    [InlineData(100, 0.01, 3, 1, 1)]
    [InlineData(10, 0.999, 3, 9, 1)]
    [InlineData(3, 0.15, 3, 1, 1)]
    [InlineData(2, 0.15, 3, 1, 1)]
    [InlineData(1, 0.15, 3, 1, 1)]
    [InlineData(0, 0.15, 3, 0, 0)]
    public void CountsFollowFromTheLength(int length, double part, double meanSpan, int hidden, int spans)
    {
        var counts = SpanCounts.Of(length, part, meanSpan);
        Assert.Equal((hidden, spans, length - hidden + spans + 1, hidden + spans + 1), (counts.Hidden, counts.Spans, counts.InputLength, counts.TargetLength));
    }

    /// <summary>Shorter sequences fit into the rows of longer ones.</summary>
    [Theory]
    [InlineData(0.15, 3)]
    [InlineData(0.5, 1)]
    [InlineData(0.5, 1.5)]
    [InlineData(0.85, 1)]
    [InlineData(0.999, 7)]
    public void CountsGrowWithTheLength(double part, double meanSpan)
    {
        for (int length = 1; length < 400; length++)
        {
            SpanCounts less = SpanCounts.Of(length - 1, part, meanSpan), more = SpanCounts.Of(length, part, meanSpan);
            Assert.True(less.InputLength <= more.InputLength && less.TargetLength <= more.TargetLength && less.Spans <= more.Spans);
        }
    }

    [Theory]
    [InlineData(64, 5, 0.15, 3)]
    [InlineData(33, 3, 0.15, 3)]
    [InlineData(17, 2, 0.5, 1)]
    [InlineData(40, 2, 0.8, 2.5)]
    [InlineData(2, 3, 0.15, 3)]
    [InlineData(1, 2, 0.15, 3)]
    public void InputAndTargetTogetherAreTheText(int block, int rows, double part, double meanSpan)
    {
        for (ulong batch = 0; batch < 20; batch++)
        {
            SpanCorruption corruption = Corruption(block, part, meanSpan);
            int[] tokens = [.. Enumerable.Range(0, rows * block).Select(i => i % 900)];
            (int[] inputs, int[] mask, int[] targets) = Apply(corruption, batch, tokens);
            SpanCounts counts = corruption.Counts;
            Assert.All(mask, value => Assert.Equal(1, value));
            Assert.DoesNotContain(SequentialWindows.Ignored, targets);
            for (int row = 0; row < rows; row++)
            {
                int[] input = inputs[(row * counts.InputLength)..((row + 1) * counts.InputLength)], target = targets[(row * counts.TargetLength)..((row + 1) * counts.TargetLength)];
                Assert.Equal(tokens[(row * block)..((row + 1) * block)], Restored(input, target));
                Assert.Equal(Enumerable.Range(FirstSentinel, counts.Spans), input.Where(IsSentinel));
                Assert.Equal(Enumerable.Range(FirstSentinel, counts.Spans), target.Where(IsSentinel));
                Assert.Equal(counts.Hidden, target.Count(id => id < End));

                // Visible and hidden spans alternate; each has at least one token.
                if (block > 1)
                    Assert.All(Enumerable.Range(1, input.Length - 2).Where(i => IsSentinel(input[i])), i => Assert.False(IsSentinel(input[i - 1])));
                Assert.All(Enumerable.Range(0, target.Length - 1).Where(i => IsSentinel(target[i])), i => Assert.True(target[i + 1] < End));
            }
        }
    }

    [Fact]
    public void ShorterSequencesArePadded()
    {
        SpanCorruption corruption = Corruption(20, 0.3, 2);
        int[] lengths = [20, 1, 7, 0], tokens = [.. Enumerable.Range(0, 80)];
        (int[] inputs, int[] mask, int[] targets) = Apply(corruption, 3, tokens, lengths);
        for (int row = 0; row < lengths.Length; row++)
        {
            var own = SpanCounts.Of(lengths[row], 0.3, 2);
            int read = corruption.Counts.InputLength, written = corruption.Counts.TargetLength, kept = own.InputLength, predicted = lengths[row] == 0 ? 0 : own.TargetLength;
            ReadOnlySpan<int> input = inputs.AsSpan(row * read, read), target = targets.AsSpan(row * written, written), seen = mask.AsSpan(row * read, read);
            Assert.Equal([.. tokens.AsSpan(row * 20, lengths[row])], Restored([.. input[..kept]], [.. target[..predicted]]));
            Assert.Equal((read - kept, 0), (input[kept..].Count(Padding), input[..kept].Count(Padding)));
            Assert.Equal((kept, read - kept), (seen[..kept].Count(1), seen[kept..].Count(0)));
            Assert.Equal(written - predicted, target[predicted..].Count(SequentialWindows.Ignored));
        }
    }

    /// <summary>Four tokens in two spans are divided as 1 + 3, 2 + 2 and 3 + 1, each as often; visible and hidden ones independently.</summary>
    [Fact]
    public void EveryPartitionIsAsLikely()
    {
        SpanCorruption corruption = Corruption(8, 0.5, 2);
        var seen = new Dictionary<(int, int), int>();
        for (ulong batch = 0; batch < 9000; batch++)
        {
            (int[] inputs, _, int[] targets) = Apply(corruption, batch, [0, 1, 2, 3, 4, 5, 6, 7]);
            (int, int) key = (Array.IndexOf(inputs, FirstSentinel), Array.IndexOf(targets, FirstSentinel + 1) - 1);
            seen[key] = seen.GetValueOrDefault(key) + 1;
        }

        Assert.Equal([(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (3, 3)], seen.Keys.Order());

        // Six standard deviations of a binomial distribution.
        Assert.All(seen.Values, count => Assert.InRange(count, 1000 - 179, 1000 + 179));
    }

    [Fact]
    public void SpansFollowFromSeedStreamAndBatchAlone()
    {
        int[] tokens = [.. Enumerable.Range(0, 120)];
        int[] Inputs(ulong seed, ulong stream, ulong batch) => Apply(Corruption(60, 0.3, 2, seed), batch, tokens, null, stream).Inputs;
        int[] first = Inputs(1, 0, 7);
        Assert.Equal(first, Inputs(1, 0, 7));
        Assert.NotEqual(first, Inputs(2, 0, 7));
        Assert.NotEqual(first, Inputs(1, 1, 7));
        Assert.NotEqual(first, Inputs(1, 0, 8));
        Assert.NotEqual(Restored(first[..(first.Length / 2)], []), Restored([.. first[(first.Length / 2)..].Select(id => id < End ? id - 60 : id)], []));
    }

    [Fact]
    public void SentinelsMustBeEnoughAndDifferent()
    {
        SpanCorruption Make(params int[] sentinels) => new(sentinels, End, Padding, 64, 0.15, 3, 1);
        Assert.Equal(3, Make(5, 6, 7, 7).Counts.Spans);
        Assert.Contains("3 spans need as many sentinels, not 2", Assert.Throws<ArgumentException>(() => Make(5, 6)).Message, StringComparison.Ordinal);
        foreach (int other in (int[])[5, End, Padding])
            Assert.Contains("must be distinct", Assert.Throws<ArgumentException>(() => Make(5, 6, other)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void SentinelsAreTextBesideATokenizer()
    {
        var tokenizer = new SentinelTokenizer(new CharTokenizer("abc <>extra_id0123".EnumerateRunes()), [90, 80]);
        int[] ids = tokenizer.Encode("ab<extra_id_1>c<extra_id_0>");
        Assert.Equal((5, 80, 90, 91), (ids.Length, ids[2], ids[4], tokenizer.VocabularySize));
        Assert.Equal("ab<extra_id_1>c<extra_id_0>", tokenizer.Decode(ids));
        Assert.Equal((90, null, null), (tokenizer.IdOf("<extra_id_0>"), tokenizer.IdOf("<extra_id_2>"), tokenizer.IdOf("a<extra_id_0>")));

        // A sentinel that there is not is plain text.
        Assert.Equal("<extra_id_2><extra_id_1>", tokenizer.Decode(tokenizer.Encode("<extra_id_2><extra_id_1>")));
        Assert.Equal(13, tokenizer.Encode("<extra_id_2><extra_id_1>").Length);
        Assert.Equal("", tokenizer.Decode([]));
        Assert.Empty(tokenizer.Encode(""));
    }

    private static bool IsSentinel(int id) => id >= FirstSentinel;

    /// <summary>The text of an input whose sentinels are replaced by what the target says.</summary>
    private static int[] Restored(int[] input, int[] target)
    {
        var spans = new Dictionary<int, List<int>>();
        List<int>? span = null;
        foreach (int id in target)
        {
            if (IsSentinel(id))
                Assert.True(spans.TryAdd(id, span = []));
            else if (id != End)
                span!.Add(id);
        }

        if (target.Length > 0)
            Assert.Equal((End, End), (input[^1], target[^1]));
        return [.. input.SelectMany(id => IsSentinel(id) ? spans.GetValueOrDefault(id) ?? [] : id == End ? Enumerable.Empty<int>() : [id])];
    }

    private static SpanCorruption Corruption(int block, double part, double meanSpan, ulong seed = 1) =>
        new([.. Enumerable.Range(FirstSentinel, block)], End, Padding, block, part, meanSpan, seed);

    private static (int[] Inputs, int[] Mask, int[] Targets) Apply(SpanCorruption corruption, ulong batch, int[] tokens, int[]? lengths = null, ulong stream = 0)
    {
        int rows = tokens.Length / corruption.Counts.Length;
        int[] inputs = new int[rows * corruption.Counts.InputLength], mask = new int[inputs.Length], targets = new int[rows * corruption.Counts.TargetLength];
        corruption.Apply(stream, batch, tokens, inputs, mask, targets, lengths);
        return (inputs, mask, targets);
    }
}
