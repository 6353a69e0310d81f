using ILGpuOptim.Data;

namespace ILGpuOptim.Tests.Data;

public class TokenMaskingTests
{
    private const int Mask = 100, VocabularySize = 101;

    [Theory]
    [InlineData(1, 1)]
    [InlineData(7, 1)]
    [InlineData(64, 10)]
    [InlineData(128, 19)]
    public void EverySequenceHidesTheSameNumber(int block, int count)
    {
        (int[] tokens, int[] targets, int[] original) = Masked(new TokenMasking(Mask, VocabularySize, block, 0.15, 1), block, 5, batch: 3);
        for (int row = 0; row < 5; row++)
            Assert.Equal(count, targets.Skip(row * block).Take(block).Count(target => target >= 0));
        for (int i = 0; i < tokens.Length; i++)
            Assert.True(targets[i] == original[i] || (targets[i] == SequentialWindows.Ignored && tokens[i] == original[i]));
    }

    [Fact]
    public void EightOfTenAreHiddenOneIsReplacedAndOneStays()
    {
        var masking = new TokenMasking(Mask, VocabularySize, 128, 0.15, 1);
        int masked = 0, replaced = 0, kept = 0;
        var positions = new int[128];
        for (ulong batch = 0; batch < 200; batch++)
        {
            (int[] tokens, int[] targets, int[] original) = Masked(masking, 128, 4, batch);
            for (int i = 0; i < tokens.Length; i++)
            {
                if (targets[i] < 0)
                    continue;
                positions[i % 128]++;
                if (tokens[i] == Mask)
                    masked++;
                else if (tokens[i] == original[i])
                    kept++;
                else
                    replaced++;
            }
        }

        double total = masked + replaced + kept;
        Assert.Equal(15200, total);
        Assert.Equal(0.8, masked / total, 0.015);
        Assert.Equal(0.1, replaced / total, 0.01);
        Assert.Equal(0.1, kept / total, 0.01);
        Assert.All(positions, count => Assert.InRange(count, 70, 170)); // 118.75 expected
    }

    [Fact]
    public void BatchesDifferAndRepeat()
    {
        var masking = new TokenMasking(Mask, VocabularySize, 32, 0.15, 1);
        int[] first = Masked(masking, 32, 2, 7).Tokens;
        Assert.NotEqual(first, Masked(masking, 32, 2, 8).Tokens);
        Assert.NotEqual(first, Masked(new TokenMasking(Mask, VocabularySize, 32, 0.15, 2), 32, 2, 7).Tokens);
        Assert.Equal(first, Masked(new TokenMasking(Mask, VocabularySize, 32, 0.15, 1), 32, 2, 7).Tokens);
    }

    [Fact]
    public void PaddingIsLeftAlone()
    {
        int[] tokens = new int[64], targets = new int[64];
        new TokenMasking(Mask, VocabularySize, 32, 0.5, 1).Apply(0, 0, tokens, targets, valid: 3);
        Assert.Equal(3, targets.AsSpan(32, 3).Count(0));
        Assert.Equal(29, targets.AsSpan(35).Count(SequentialWindows.Ignored));
        Assert.Equal(29, tokens.AsSpan(35).Count(0));
    }

    private static (int[] Tokens, int[] Targets, int[] Original) Masked(TokenMasking masking, int block, int rows, ulong batch)
    {
        int[] original = [.. Enumerable.Range(0, rows * block).Select(i => i * 7 % 100)], tokens = [.. original], targets = new int[tokens.Length];
        masking.Apply(0, batch, tokens, targets);
        return (tokens, targets, original);
    }
}
