using FsCheck;
using FsCheck.Xunit;
using ILGpuOptim.Data;

namespace ILGpuOptim.Tests.Data;

public class TokenSequenceTests
{
    [Property(MaxTest = 200)]
    public void JoinedAndSlicedSequencesAreTheirArrays(int[][] parts, NonNegativeInt from, NonNegativeInt count)
    {
        int[][] ids = [.. parts.Select((part, i) => part.Select(id => id & (i % 2 == 0 ? 0xFFFF : int.MaxValue)).ToArray())];
        int[] all = [.. ids.SelectMany(part => part)];
        TokenSequence joined = TokenSequence.Join(ids.Select(part => TokenSequence.From(part)));
        Assert.Equal(all, joined.ToArray());
        Assert.Equal(all.Length == 0 ? -1 : all.Max(), joined.Max());
        int start = from.Get % (all.Length + 1), length = count.Get % (all.Length - start + 1);
        int[] expected = all[start..(start + length)];
        TokenSequence slice = joined.Slice(start, length);
        Assert.Equal(expected, slice.ToArray());
        var target = new int[length];
        joined.CopyTo(start, target);
        Assert.Equal(expected, target);
        Assert.Equal(expected[(length / 2)..], slice.Slice(length / 2, length - length / 2).ToArray());
    }

    [Fact]
    public void RangesAreChecked()
    {
        TokenSequence tokens = TokenSequence.From([1, 2, 3]);
        Assert.Throws<ArgumentOutOfRangeException>(() => tokens.CopyTo(1, new int[3]));
        Assert.Throws<ArgumentOutOfRangeException>(() => tokens.CopyTo(-1, new int[1]));
        Assert.Throws<ArgumentOutOfRangeException>(() => tokens.Slice(0, 4));
        Assert.Throws<ArgumentOutOfRangeException>(() => tokens.Slice(long.MaxValue, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => TokenSequence.From([-1]));
        Assert.Equal(-1, TokenSequence.Empty.Max());
    }
}
