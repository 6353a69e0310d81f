using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Mixtures;

/// <summary>T5's buckets by distance and the table behind them.</summary>
public sealed class RelativeBiasTests : IDisposable
{
    // The first distance of each bucket, for 32 buckets of at most 128 positions; of an encoder's 32, 16 are for one direction.
    private static readonly int[] Decoder = [.. Enumerable.Range(0, 16), 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113];
    private static readonly int[] Encoder = [.. Enumerable.Range(0, 8), 8, 12, 16, 23, 32, 46, 64, 91];

    private readonly CpuDevice device = new(1);

    public void Dispose() => device.Dispose();

    [Fact]
    public void BucketsBeginWhereT5sDo()
    {
        RelativeBias decoder = Make(32, 128, isBidirectional: false), encoder = Make(32, 128, isBidirectional: true);
        for (int distance = 0; distance < 300; distance++)
        {
            int late = Array.FindLastIndex(Decoder, first => first <= distance), wide = Array.FindLastIndex(Encoder, first => first <= distance);
            Assert.Equal(late, decoder.BucketOf(-distance));
            Assert.Equal(0, decoder.BucketOf(distance));
            Assert.Equal(wide, encoder.BucketOf(-distance));
            Assert.Equal(distance == 0 ? 0 : 16 + wide, encoder.BucketOf(distance));
        }

        Assert.Equal(31, decoder.BucketOf(-1_000_000));
        Assert.Equal(31, encoder.BucketOf(1_000_000));
    }

    [Theory]
    [InlineData(2, 2, false)]
    [InlineData(3, 5, false)]
    [InlineData(4, 2, true)]
    [InlineData(7, 11, true)]
    [InlineData(64, 1000, false)]
    public void BucketsOfOtherSettingsAreMonotonousAndWithinTheTable(int buckets, int maxDistance, bool isBidirectional)
    {
        RelativeBias bias = Make(buckets, maxDistance, isBidirectional);
        int last = 0, half = isBidirectional ? buckets / 2 : buckets;
        for (int distance = 0; distance < 2 * maxDistance; distance++)
        {
            int bucket = bias.BucketOf(-distance);
            Assert.InRange(bucket, last, Math.Min(half - 1, last + Math.Max(1, half)));
            last = bucket;
            if (distance < half / 2)
                Assert.Equal(distance, bucket);
        }

        Assert.Equal(half - 1, last);
    }

    [Theory]
    [InlineData(1, 1, true)]
    [InlineData(5, 5, true)]
    [InlineData(5, 5, false)]
    [InlineData(1, 40, false)]
    [InlineData(3, 40, false)]
    public void RowsAreThoseOfDistancesAndTheTableGetsTheirSums(int queries, int keys, bool isBidirectional)
    {
        const int Heads = 3;
        RelativeBias bias = Make(32, 128, isBidirectional);
        Tape tape = new(device);
        Tensor rows = bias.Forward(tape, queries, keys);
        rows.IsKept = true;
        Assert.Equal([queries + keys - 1, Heads], rows.Shape);
        float[] weights = ExpertsProblem.Weights((int)rows.Length);
        tape.Backward(ExpertsProblem.Objective.Of(tape, rows, weights));
        float[] table = bias.Weight.ToArray(), actual = rows.ToArray();
        var sums = new double[table.Length];
        for (int i = 0; i < queries; i++)
        {
            for (int j = 0; j < keys; j++)
            {
                int position = i + keys - queries, row = j - position + keys - 1;
                for (int head = 0; head < Heads; head++)
                    Assert.Equal(table[bias.BucketOf(j - position) * Heads + head], actual[row * Heads + head]);
            }
        }

        for (int row = 0; row < rows.Rows; row++)
        {
            for (int head = 0; head < Heads; head++)
                sums[bias.BucketOf(row - (keys - 1)) * Heads + head] += weights[row * Heads + head];
        }

        ExpertsProblem.Close(sums, ExpertsProblem.GradientOf(tape, bias.Weight), "table");
        tape.Reset();
    }

    [Fact]
    public void MistakesAreErrors()
    {
        Assert.Contains("use at least 4", Assert.Throws<ArgumentException>(() => Make(3, 128, isBidirectional: true)).Message, StringComparison.Ordinal);
        Assert.Contains("use at least 2", Assert.Throws<ArgumentException>(() => Make(1, 128, isBidirectional: false)).Message, StringComparison.Ordinal);
        Assert.Contains("must exceed the 16", Assert.Throws<ArgumentException>(() => Make(32, 16, isBidirectional: false)).Message, StringComparison.Ordinal);
        RelativeBias bias = Make(32, 128, isBidirectional: false);
        Assert.Throws<ArgumentOutOfRangeException>(() => bias.Forward(new Tape(device), -1, 4));
        Assert.Throws<ArgumentOutOfRangeException>(() => bias.Forward(new Tape(device), 5, 4));
    }

    private RelativeBias Make(int buckets, int maxDistance, bool isBidirectional) =>
        new(new Initializer(device, seed: 1), new RelativeBiasDescription("table", buckets, maxDistance) { IsBidirectional = isBidirectional, StandardDeviation = 1 }, heads: 3);
}
