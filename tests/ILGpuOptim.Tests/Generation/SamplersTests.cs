using ILGpuOptim.Compute;
using ILGpuOptim.Generation;

namespace ILGpuOptim.Tests.Generation;

public class SamplersTests
{
    private const float None = float.NegativeInfinity;

    [Theory]
    [InlineData(new[] { 1f, 3, 2 }, 1)]
    [InlineData(new[] { 3f, 1, 3 }, 0)]
    [InlineData(new[] { None, None, None }, 0)]
    [InlineData(new[] { None, -5f, None }, 1)]
    [InlineData(new[] { 7f }, 0)]
    public void TheLikeliestIsTheLowestOfEqualOnes(float[] logits, int expected) => Assert.Equal(expected, Samplers.ArgMax(logits));

    [Theory]
    [InlineData(7)]
    [InlineData(31)]
    [InlineData(33)]
    [InlineData(4097)]
    public void TheLikeliestIsFoundAnywhere(int size)
    {
        for (int i = 0; i < size; i += Math.Max(1, size / 13))
        {
            var logits = new float[size];
            logits[i] = 1;
            Assert.Equal(i, Samplers.ArgMax(logits));
            logits[size - 1] = 1;
            Assert.Equal(i, Samplers.ArgMax(logits));
            Assert.False(Samplers.HasNaN(logits));
            logits[i] = float.NaN;
            Assert.True(Samplers.HasNaN(logits));
        }
    }

    [Theory]
    [InlineData(0, new[] { 1f, 3, 2, 3 })]
    [InlineData(4, new[] { 1f, 3, 2, 3 })]
    [InlineData(9, new[] { 1f, 3, 2, 3 })]
    [InlineData(1, new[] { None, 3, None, None })]
    [InlineData(2, new[] { None, 3, None, 3 })]
    [InlineData(3, new[] { None, 3f, 2, 3 })]
    public void TopKKeepsKAndTheLowestOfEqualOnes(int k, float[] expected)
    {
        float[] logits = [1, 3, 2, 3];
        Samplers.KeepTopK(logits, k);
        Assert.Equal(expected, logits);
    }

    [Fact]
    public void TopKAgreesWithSorting()
    {
        for (ulong seed = 0; seed < 200; seed++)
        {
            int size = 1 + (int)(seed * 7 % 97), k = 1 + (int)(seed % (ulong)size);
            float[] logits = Random(size, seed, distinct: seed % 2 == 0 ? 5 : 1000), kept = [.. logits];
            if (seed % 3 == 0)
                kept.AsSpan(0, size / 2).Fill(None);
            float[] before = [.. kept];
            int[] expected = [.. Enumerable.Range(0, size).OrderByDescending(i => before[i]).ThenBy(i => i).Take(k).Order()];
            Samplers.KeepTopK(kept, k);
            Assert.All(expected, i => Assert.Equal(before[i], kept[i]));
            Assert.All(Enumerable.Range(0, size).Except(expected), i => Assert.Equal(None, kept[i]));
        }
    }

    [Theory]
    [InlineData(0, new[] { true, false, false, false })]
    [InlineData(0.49, new[] { true, false, false, false })]
    [InlineData(0.51, new[] { true, true, false, false })]
    [InlineData(0.74, new[] { true, true, false, false })]
    [InlineData(0.8, new[] { true, true, true, false })]
    [InlineData(0.9, new[] { true, true, true, true })]
    [InlineData(1, new[] { true, true, true, true })]
    public void TopPKeepsTheFewestThatReachIt(double p, bool[] expected)
    {
        // Two of equal probability: the lower id comes first.
        float[] logits = [MathF.Log(0.5f), MathF.Log(0.25f), MathF.Log(0.125f), MathF.Log(0.125f)];
        Samplers.KeepTopP(logits, p);
        Assert.Equal(expected, logits.Select(float.IsFinite));
    }

    [Fact]
    public void TopPAgreesWithSorting()
    {
        for (ulong seed = 0; seed < 200; seed++)
        {
            int size = 1 + (int)(seed * 7 % 97);
            double p = (seed % 10 + 0.5) / 10;
            float[] logits = Random(size, seed, distinct: 100000), kept = [.. logits];
            double total = logits.Sum(logit => Math.Exp(logit)), sum = 0;
            int[] expected = [.. Enumerable.Range(0, size).OrderByDescending(i => logits[i]).TakeWhile(i =>
            {
                bool taken = sum < p * total;
                sum += Math.Exp(logits[i]);
                return taken;
            }).Order()];
            Samplers.KeepTopP(kept, p);
            Assert.Equal(expected, Enumerable.Range(0, size).Where(i => kept[i] == logits[i]));
        }
    }

    [Theory]
    [InlineData(0, new[] { true, true, true, true })]
    [InlineData(0.2, new[] { true, true, true, true })]
    [InlineData(0.3, new[] { true, true, false, false })]
    [InlineData(1, new[] { true, false, false, false })]
    public void MinPKeepsAShareOfTheLikeliest(double p, bool[] expected)
    {
        float[] logits = [MathF.Log(0.5f), MathF.Log(0.25f), MathF.Log(0.125f), MathF.Log(0.125f)];
        Samplers.KeepMinP(logits, p);
        Assert.Equal(expected, logits.Select(float.IsFinite));
    }

    [Fact]
    public void ThePenaltyPushesEitherSignDown()
    {
        float[] logits = [2, -2, 2, 0];
        Samplers.PenalizeRepetition(logits, [0, 1, 3], 2);
        Assert.Equal([1, -4, 2, 0], logits);
        Samplers.PenalizeRepetition(logits, [0, 1], 1);
        Assert.Equal([1, -4, 2, 0], logits);
    }

    [Theory]
    [InlineData(1e-300)]
    [InlineData(1e-30)]
    [InlineData(0.5)]
    [InlineData(1e30)]
    public void NoTemperatureOverflows(double temperature)
    {
        float[] logits = [1e30f, -1e30f, 3, None];
        Samplers.ApplyTemperature(logits, temperature);
        Assert.Equal(0, logits[0]);
        Assert.False(Samplers.HasNaN(logits));
        Assert.Equal(None, logits[3]);
    }

    [Fact]
    public void NothingLeftGivesTheLowestId()
    {
        float[] logits = [None, None, None];
        Samplers.ApplyTemperature(logits, 0.5);
        Samplers.KeepTopK(logits, 2);
        Samplers.KeepTopP(logits, 0.5);
        Samplers.KeepMinP(logits, 0.5);
        Assert.Equal([None, None, None], logits);
        Assert.Equal(0, Samplers.Draw(logits, 0.99));
        Assert.Equal(double.NegativeInfinity, Samplers.LogProbability(logits, 1));
    }

    [Fact]
    public void DrawsWithinTheBordersOfEachProbability()
    {
        float[] logits = [MathF.Log(0.5f), None, MathF.Log(0.25f), MathF.Log(0.25f)];
        Assert.Equal(0, Samplers.Draw(logits, 0));
        Assert.Equal(0, Samplers.Draw(logits, 0.4999));
        Assert.Equal(2, Samplers.Draw(logits, 0.5001));
        Assert.Equal(2, Samplers.Draw(logits, 0.7499));
        Assert.Equal(3, Samplers.Draw(logits, 0.7501));
        Assert.Equal(3, Samplers.Draw(logits, 1 - 1e-16));
        Assert.Equal(Math.Log(0.25), Samplers.LogProbability(logits, 2), 1e-8);
    }

    public static TheoryData<SamplingOptions, double[]> Distributions => new()
    {
        { new SamplingOptions { Temperature = 1 }, [0.4, 0.3, 0.2, 0.1] },
        { new SamplingOptions { Temperature = 0.5 }, [0.16 / 0.3, 0.09 / 0.3, 0.04 / 0.3, 0.01 / 0.3] },
        { new SamplingOptions { Temperature = 1, TopK = 2 }, [4.0 / 7, 3.0 / 7, 0, 0] },
        { new SamplingOptions { Temperature = 1, TopP = 0.8 }, [4.0 / 9, 3.0 / 9, 2.0 / 9, 0] },
        { new SamplingOptions { Temperature = 1, MinP = 0.6 }, [4.0 / 7, 3.0 / 7, 0, 0] },
        { new SamplingOptions { Temperature = 0 }, [1, 0, 0, 0] },
    };

    [Theory]
    [MemberData(nameof(Distributions))]
    public void DrawsFollowTheDistribution(SamplingOptions options, double[] expected)
    {
        const int Draws = 20000;
        var sampler = new Sampler(options with { Seed = 5 });
        var counts = new int[4];
        for (int place = 0; place < Draws; place++)
            counts[sampler.Next([MathF.Log(0.4f), MathF.Log(0.3f), MathF.Log(0.2f), MathF.Log(0.1f)], [], 0, place).Id]++;
        double chiSquare = 0;
        for (int i = 0; i < 4; i++)
        {
            if (expected[i] == 0)
                Assert.Equal(0, counts[i]);
            else
                chiSquare += Math.Pow(counts[i] - Draws * expected[i], 2) / (Draws * expected[i]);
        }

        Assert.True(chiSquare < 16.3, $"χ² = {chiSquare}"); // one in a thousand at three degrees of freedom; the seed is fixed
    }

    [Fact]
    public void SamplesAndPlacesAndSeedsDiffer()
    {
        float[] logits = new float[1000];
        int Draw(ulong seed, int sample, int place) => new Sampler(new SamplingOptions { Seed = seed, Temperature = 1 }).Next([.. logits], [], sample, place).Id;
        Assert.Equal(Draw(1, 2, 3), Draw(1, 2, 3));
        Assert.Equal(4, new[] { Draw(1, 0, 0), Draw(2, 0, 0), Draw(1, 1, 0), Draw(1, 0, 1) }.Distinct().Count());
    }

    [Fact]
    public void LogitsThatAreNoNumbersAreRefused() =>
        Assert.Throws<UserException>(() => new Sampler(new SamplingOptions()).Next([1, float.NaN], [], 0, 0));

    public static TheoryData<SamplingOptions> Nonsense => new()
    {
        new SamplingOptions { Temperature = -1 },
        new SamplingOptions { Temperature = double.NaN },
        new SamplingOptions { TopK = -1 },
        new SamplingOptions { TopP = 1.1 },
        new SamplingOptions { TopP = double.NaN },
        new SamplingOptions { MinP = -0.1 },
        new SamplingOptions { RepetitionPenalty = 0 },
    };

    [Theory]
    [MemberData(nameof(Nonsense))]
    public void NonsenseIsRefused(SamplingOptions options) => Assert.ThrowsAny<UserException>(() => new Sampler(options));

    private static float[] Random(int size, ulong seed, int distinct)
    {
        var result = new float[size];
        for (int i = 0; i < size; i++)
            result[i] = MathF.Floor(Philox.Unit(Philox.Generate(seed, 0, (ulong)i).A) * distinct) * 4 / distinct;
        return result;
    }
}
