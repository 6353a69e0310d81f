using ILGpuOptim.Compute;

namespace ILGpuOptim.Tests.Cpu;

/// <summary>Arguments of attention and rotation that are refused before a device sees them.</summary>
public class AttentionMisuseTests
{
    [Fact]
    public void AttentionThatDoesNotFitIsRefused()
    {
        using var device = new CpuDevice(1);
        Block x = device.Pool.Rent(2 * 3 * 8), numbers = device.Pool.Rent(10), ranges = device.Pool.Rent(12, DType.I32);
        foreach (Block block in (Block[])[x, numbers])
            device.Fill(block, 0);
        var good = new AttentionArguments(x, x, x, device.Pool.Rent(48))
        {
            Batch = 2,
            Heads = 2,
            KeyHeads = 2,
            HeadSize = 4,
            QueryLength = 3,
            KeyLength = 3,
            QueryStride = 8,
            KeyStride = 8,
            OutputStride = 8,
            Scale = 1,
            LogSumExp = device.Pool.Rent(12),
            Causal = true,
            KeysBefore = 1,
            SoftCap = 2,
            DistanceBias = numbers,
            Ranges = ranges,
            QueryHeadStride = 4,
        };
        void Upload(params int[] values) => device.Upload(values, ranges);
        void Refused<E>(string message, AttentionArguments arguments) where E : Exception
        {
            Assert.Contains(message, Assert.Throws<E>(() => device.AttentionForward(arguments)).Message);
            Assert.Contains(message, Assert.Throws<E>(() => device.AttentionBackward(arguments, new(x, x, x, x))).Message);
        }

        Upload(0, 3, 0, 3, 0, 3, 0, 1, 1, 2, 2, 3);
        device.AttentionForward(good);
        Refused<ArgumentOutOfRangeException>("KeysBefore and KeysAfter are at least 0", good with { KeysBefore = -1 });
        Refused<ArgumentOutOfRangeException>("KeysBefore and KeysAfter are at least 0", good with { KeysAfter = -3 });
        foreach (float cap in (float[])[-1, float.NaN, float.PositiveInfinity])
            Refused<ArgumentOutOfRangeException>("the soft cap is a positive number", good with { SoftCap = cap });
        Refused<ArgumentException>("queries: a stride of 3 from head to head is less than the 4 elements of a head", good with { QueryHeadStride = 3 });
        Refused<ArgumentException>("keys: a stride of -4 from head to head", good with { KeyHeadStride = -4 });
        Refused<ArgumentException>("keys: a stride of 8 is less than the 9 elements of a row", good with { KeyHeadStride = 5 });
        Refused<ArgumentException>("queries: 54 elements are needed; the block has 48", good with { QueryHeadStride = 5, QueryStride = 9, Query = x });
        Refused<ArgumentException>("the distance bias: 10 elements are needed; the block has 9", good with { DistanceBias = numbers.Slice(0, 9) });
        Refused<ArgumentException>("attention: the ranges need 12 elements, two per query; the block has 11", good with { Ranges = ranges.Slice(0, 11) });
        Refused<ArgumentException>("expected I32 storage", good with { Ranges = x });
        Upload(0, 3, 0, 3, 0, 3, 0, 1, 1, 2, 2, 4);
        Refused<ArgumentOutOfRangeException>("attention: ranges must lie between 0 and 3, the number of keys", good);
        Upload(-1, 3, 0, 3, 0, 3, 0, 1, 1, 2, 2, 3);
        Refused<ArgumentOutOfRangeException>("attention: ranges must lie between 0 and 3, the number of keys", good);
        Upload(0, 3, 0, 2, 0, 3, 0, 1, 1, 2, 2, 3);
        Refused<ArgumentException>("decrease from 3 to 2 at query 1 of sequence 0", good);
        Upload(0, 3, 0, 3, 0, 3, 1, 1, 0, 2, 2, 3);
        Refused<ArgumentException>("decrease from 1 to 0 at query 1 of sequence 1", good);
        Upload(2, 3, 2, 3, 2, 3, 0, 1, 1, 2, 2, 3);
        device.AttentionForward(good);
        var gradients = new AttentionGradients(x, x, x, x) { DistanceBias = numbers.Slice(0, 9) };
        Assert.Contains("the gradient of the distance bias: 10", Assert.Throws<ArgumentException>(() => device.AttentionBackward(good, gradients)).Message);
        Assert.Contains("there is no distance bias", Assert.Throws<ArgumentException>(() => device.AttentionBackward(good with { DistanceBias = null }, gradients)).Message);
    }

    [Fact]
    public void RotationThatDoesNotFitIsRefused()
    {
        using var device = new CpuDevice(1);
        Block target = device.Pool.Rent(24), angles = device.Pool.Rent(4);
        device.Fill(target, 0);
        device.Fill(angles, 0);
        var good = new RotationArguments(target, angles) { Rows = 2, Heads = 2, HeadSize = 4, RotatedSize = 2, HeadStride = 6, Stride = 12 };
        device.Rotate(good);
        void Refused(string message, RotationArguments arguments) => Assert.Contains(message, Assert.Throws<ArgumentException>(() => device.Rotate(arguments)).Message);
        Refused("an even number of a head's 4 elements can be rotated, not 3", good with { RotatedSize = 3 });
        Refused("an even number of a head's 4 elements can be rotated, not 6", good with { RotatedSize = 6 });
        Refused("an even number of a head's 4 elements can be rotated, not -2", good with { RotatedSize = -2 });
        Refused("a stride of 3 from head to head is less than the 4 elements of a head", good with { HeadStride = 3 });
        Refused("a stride of 9 is less than the 10 elements of a row", good with { Stride = 9 });
        Refused("exceed 24 elements or 4 angles", good with { RotatedSize = 4 });
        Refused("exceed 24 elements or 4 angles", good with { Stride = 15 });
        Refused("negative size", good with { Rows = -1 });
    }
}
