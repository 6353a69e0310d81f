using ILGpuOptim.Data;

namespace ILGpuOptim.Tests.Data;

/// <summary>Windows of documents: packed, and one document each.</summary>
public class DocumentWindowsTests
{
    /// <summary>Documents of several groups, with many of one token, against windows that are listed.</summary>
    [Theory]
    [InlineData(1, 5, true)]
    [InlineData(300, 5, true)]
    [InlineData(1000, 5, false)]
    [InlineData(1000, 1, true)]
    [InlineData(513, 100, true)]
    [InlineData(512, 100, false)]
    public void EveryTokenOfADocumentIsInOneWindow(int count, int block, bool predictsNext)
    {
        (DocumentEnds ends, long[] all) = Documents(count);
        var windows = new DocumentWindows(ends, block, predictsNext);
        var expected = new List<(long, int)>();
        long start = 0;
        foreach (long end in all)
        {
            for (long from = start; from < end - (predictsNext ? 1 : 0); from += block)
                expected.Add((from, (int)Math.Min(block, end - (predictsNext ? 1 : 0) - from)));
            start = end;
        }

        Assert.Equal(expected.Count, windows.Count);
        Assert.Equal(expected, Enumerable.Range(0, expected.Count).Select(i => windows.At(i)));
        Assert.Throws<ArgumentOutOfRangeException>(() => windows.At(windows.Count));
        Assert.Throws<ArgumentOutOfRangeException>(() => windows.At(-1));
        TokenSequence tokens = TokenSequence.From([.. Enumerable.Range(0, (int)ends.Length)]);
        int[] inputs = new int[block], targets = new int[block];
        foreach (((long first, int length), int i) in expected.Select((window, i) => (window, i)))
        {
            inputs.AsSpan().Fill(-7);
            Assert.Equal(length, windows.Fill(tokens, i, inputs, targets));
            for (int j = 0; j < block; j++)
            {
                Assert.Equal(j < length ? first + j : 0, inputs[j]);
                Assert.Equal(j < length && predictsNext ? first + j + 1 : -1, targets[j]);
            }
        }
    }

    [Fact]
    public void DocumentsOfOneTokenPredictNothing()
    {
        Assert.Equal(0, new DocumentWindows(DocumentEnds.From([1, 2, 3], 3), 4, predictsNext: true).Count);
        Assert.Equal(3, new DocumentWindows(DocumentEnds.From([1, 2, 3], 3), 4, predictsNext: false).Count);
        Assert.Equal(0, new DocumentWindows(DocumentEnds.One(0), 4, predictsNext: false).Count);
    }

    [Theory]
    [InlineData(Sampling.Epochs)]
    [InlineData(Sampling.Random)]
    public void PackedWindowsAreThoseWithoutDocuments(Sampling sampling)
    {
        (DocumentEnds ends, long[] all) = Documents(200);
        TokenSequence tokens = TokenSequence.From([.. Enumerable.Range(0, (int)ends.Length)]);
        var sampler = new BatchSampler(13, 4, 5, sampling);
        int[] inputs = new int[52], targets = new int[52], plain = new int[52], unused = new int[52], documents = new int[52];
        for (ulong batch = 0; batch < 100; batch++)
        {
            sampler.Fill(tokens, ends, 0, batch, inputs, targets, documents);
            sampler.Fill(tokens, 0, batch, plain, unused);
            Assert.Equal(plain, inputs);
            for (int i = 0; i < 52; i++)
            {
                long Number(int token) => all.Count(end => end <= token);
                Assert.Equal(Number(inputs[i]) - Number(inputs[i - (i % 13)]), documents[i]);
                Assert.Equal(Number(inputs[i] + 1) != Number(inputs[i]) ? -1 : inputs[i] + 1, targets[i]);
            }
        }
    }

    [Fact]
    public void AnEpochOfDocumentsHasEachWindowOnce()
    {
        (DocumentEnds ends, _) = Documents(100);
        TokenSequence tokens = TokenSequence.From([.. Enumerable.Range(0, (int)ends.Length)]);
        var windows = new DocumentWindows(ends, 6, predictsNext: true);
        var sampler = new BatchSampler(6, 3, 8, Sampling.Epochs);
        int[] inputs = new int[18], targets = new int[18], lengths = new int[3];
        var seen = new List<(long, int)>();
        for (ulong batch = 0; seen.Count < 2 * windows.Count; batch++)
        {
            sampler.Fill(tokens, windows, 0, batch, inputs, targets, lengths);
            seen.AddRange(Enumerable.Range(0, 3).Select(row => ((long)inputs[row * 6], lengths[row])));
        }

        int count = (int)windows.Count;
        var expected = Enumerable.Range(0, count).Select(i => windows.At(i)).ToArray();
        Assert.Equal(expected, seen.Take(count).Order());
        Assert.Equal(expected, seen.Skip(count).Take(count).Order());
        Assert.NotEqual(seen.Take(count), seen.Skip(count).Take(count));
        Assert.Equal(2.0, sampler.EpochsOf(windows.Count, 2.0 * count / 3), 12);
    }

    [Fact]
    public void FillingAllocatesNothing()
    {
        (DocumentEnds ends, _) = Documents(1000);
        TokenSequence tokens = TokenSequence.From([.. Enumerable.Range(0, (int)ends.Length)]);
        var windows = new DocumentWindows(ends, 6, predictsNext: true);
        var sampler = new BatchSampler(6, 3, 8, Sampling.Epochs);
        var masking = new TokenMasking(1, 90, 6, 0.5, 1);
        var sequential = new SequentialWindows(tokens, 6, 3, ends);
        int[] inputs = new int[18], targets = new int[18], lengths = new int[3], documents = new int[18];
        Fill(0);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (ulong i = 1; i < 100; i++)
            Fill(i);
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());

        void Fill(ulong batch)
        {
            sampler.Fill(tokens, ends, 0, batch, inputs, targets, documents);
            sampler.Fill(tokens, windows, 0, batch, inputs, targets, lengths);
            masking.Apply(0, batch, inputs, targets, lengths);
            sequential.Fill((long)batch, inputs, targets, documents);
        }
    }

    /// <summary>Each sequence hides its own part of its own tokens, and of a whole sequence the tokens that it always hid.</summary>
    [Fact]
    public void MasksFollowTheLengths()
    {
        var masking = new TokenMasking(999, 1000, 20, 0.25, 3);
        int[] lengths = [20, 10, 1, 3, 0], tokens = [.. Enumerable.Range(0, 100)], targets = new int[100];
        masking.Apply(0, 4, tokens, targets, lengths);
        Assert.Equal([5, 2, 1, 1, 0], Enumerable.Range(0, 5).Select(row => targets.AsSpan(row * 20, 20).ToArray().Count(target => target >= 0)));
        for (int row = 0; row < 5; row++)
        {
            for (int i = 0; i < 20; i++)
            {
                int at = (row * 20) + i;
                Assert.True(targets[at] == -1 || (i < lengths[row] && targets[at] == at));
                Assert.True(targets[at] >= 0 || tokens[at] == at);
            }
        }

        int[] whole = [.. Enumerable.Range(0, 100)], expected = new int[100];
        masking.Apply(0, 4, whole, expected);
        Assert.Equal(expected[..20], targets[..20]);
        Assert.Equal(whole[..20], tokens[..20]);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(7)]
    public void SequentialWindowsPredictEachTokenOfADocumentButItsFirst(int stride)
    {
        (DocumentEnds ends, long[] all) = Documents(60);
        TokenSequence tokens = TokenSequence.From([.. Enumerable.Range(0, (int)ends.Length)]);
        var windows = new SequentialWindows(tokens, 7, stride, ends);
        int[] inputs = new int[7], targets = new int[7], documents = new int[7];
        var predicted = new List<int>();
        for (long window = 0; window <= windows.Count; window++)
        {
            int counted = windows.Fill(window, inputs, targets, documents);
            Assert.Equal(targets.Count(target => target >= 0), counted);
            predicted.AddRange(targets.Where(target => target >= 0));
            for (int i = 1; i < 7 && inputs[i] > 0; i++)
                Assert.Equal(all.Contains(inputs[i]) ? documents[i - 1] + 1 : documents[i - 1], documents[i]);
        }

        Assert.Equal(Enumerable.Range(1, (int)ends.Length - 1).Where(i => !all.Contains(i)), predicted);
        Assert.Equal(predicted.Count, windows.Targets);
        Assert.Contains("no document has two tokens", Assert.Throws<UserException>(() => new SequentialWindows(TokenSequence.From([1, 2]), 1, 0, DocumentEnds.From([1, 2], 2))).Message);
    }

    private static (DocumentEnds Ends, long[] All) Documents(int count)
    {
        var random = new Random(count);
        var ends = new long[count];
        for (int i = 0; i < count; i++)
            ends[i] = (i == 0 ? 0 : ends[i - 1]) + (random.Next(3) == 0 ? 1 : random.Next(1, 30));
        return (DocumentEnds.From(ends, ends[^1]), ends);
    }
}
