using ILGpuOptim.Compute;

namespace ILGpuOptim.Tests.Devices;

/// <summary>Wrong arguments of every operation are refused before a device sees them. Stamped on each device below.</summary>
public abstract class MisuseTests(Device device)
{
    [Theory]
    [InlineData(100_000_000)]
    [InlineData(4)]
    [InlineData(-5)]
    [InlineData(int.MaxValue)]
    [InlineData(int.MinValue)]
    public void IndicesOutsideATableAreRefused(int index)
    {
        Block table = Numbers(16), rows = Numbers(16), values = Numbers(4), indices = Indices(1, index, 2, 0);
        Assert.Throws<ArgumentOutOfRangeException>(() => device.Gather(table, indices, rows, 4, false));
        Assert.Throws<ArgumentOutOfRangeException>(() => device.Gather(table, indices, rows, 4, true));
        if (index >= 0)
        {
            Assert.Throws<ArgumentOutOfRangeException>(() => device.ScatterAdd(rows, indices, table, 4));
            Assert.Throws<ArgumentOutOfRangeException>(() => device.Pick(rows, indices, values, 4));
            Assert.Throws<ArgumentOutOfRangeException>(() => device.AddAt(rows, indices, values, 4));
        }
        else
        {
            device.ScatterAdd(rows, indices, table, 4);
            device.Pick(rows, indices, values, 4);
            device.AddAt(rows, indices, values, 4);
        }

        Return(table, rows, values, indices);
    }

    [Fact]
    public void OtherMemoryStaysAsItIs()
    {
        Block table = Numbers(4), victim = Numbers(100_000), indices = Indices(400);
        Assert.Throws<ArgumentOutOfRangeException>(() => device.ScatterAdd(table, indices, table, 4));
        Assert.All(Read(victim), value => Assert.Equal(1, value));
        Return(table, victim, indices);
    }

    [Fact]
    public void IndicesAfterAnEarlierUploadAreTheNewOnes()
    {
        Block table = Numbers(16), rows = Numbers(4), indices = Indices(100);
        Assert.Throws<ArgumentOutOfRangeException>(() => device.Gather(table, indices, rows, 4, false));
        device.Upload([3], indices);
        device.Gather(table, indices, rows, 4, false);
        device.Fill(indices, 2);
        device.Gather(table, indices, rows, 4, false);
        Assert.All(Read(rows), value => Assert.Equal(1, value));
        Return(table, rows, indices);
    }

    [Fact]
    public void StridedCopiesStayWithinTheirBlocksAndWriteOnce()
    {
        Block source = Numbers(16), target = Numbers(16);
        Assert.Throws<ArgumentException>(() => device.CopyStrided(source, 1, target, 0, [new(16, 1, 1)]));
        Assert.Throws<ArgumentException>(() => device.CopyStrided(source, 0, target, 1, [new(16, 1, 1)]));
        Assert.Throws<ArgumentException>(() => device.CopyStrided(source, 3, target, 0, [new(5, -1, 1)]));
        Assert.Throws<ArgumentException>(() => device.CopyStrided(source, -1, target, 0, []));
        Assert.Throws<ArgumentException>(() => device.CopyStrided(source, 0, target, 0, [new(long.MaxValue, long.MaxValue, 1)]));
        Assert.Throws<ArgumentException>(() => device.CopyStrided(source, 0, target, 0, [new(2, 1, 0)]));
        Assert.Throws<ArgumentException>(() => device.CopyStrided(source, 0, target, 15, [new(2, 1, -1)]));
        Assert.Throws<ArgumentException>(() => device.CopyStrided(source, 0, target, 0, [new(3, 1, 2), new(3, 1, 3)]));
        Assert.Throws<ArgumentException>(() => device.CopyStrided(source, 0, source, 4, [new(8, 1, 1)]));
        Assert.Throws<ArgumentOutOfRangeException>(() => device.CopyStrided(source, 0, target, 0, [new(-1, 1, 1)]));
        Assert.All(Read(target), value => Assert.Equal(1, value));
        device.CopyStrided(source, 8, source, 0, [new(8, 1, 1)]);
        Return(source, target);
    }

    [Fact]
    public void OperandsOfIndexedMovesMustFit()
    {
        Block table = Numbers(16), rows = Numbers(16), few = Numbers(15), values = Numbers(4), three = Numbers(3), indices = Indices(0, 1, 2, 3);
        Assert.Throws<ArgumentException>(() => device.Gather(table, indices, few, 4, false));
        Assert.Throws<ArgumentException>(() => device.ScatterAdd(few, indices, table, 4));
        Assert.Throws<ArgumentException>(() => device.Pick(few, indices, values, 4));
        Assert.Throws<ArgumentException>(() => device.Pick(rows, indices, three, 4));
        Assert.Throws<ArgumentException>(() => device.AddAt(few, indices, values, 4));
        Assert.Throws<ArgumentException>(() => device.AddAt(rows, indices, three, 4));
        Assert.Throws<ArgumentOutOfRangeException>(() => device.AddAt(rows, indices, values, 4, perRow: 3));
        Assert.Throws<ArgumentOutOfRangeException>(() => device.AddAt(rows, indices, values, 4, perRow: 0));
        foreach (long columns in (long[])[-1, -4, 1L << 31, 1L << 62, long.MaxValue, long.MinValue])
        {
            Assert.ThrowsAny<ArgumentException>(() => device.Gather(table, indices, rows, columns, false));
            Assert.ThrowsAny<ArgumentException>(() => device.ScatterAdd(rows, indices, table, columns));
            Assert.ThrowsAny<ArgumentException>(() => device.Pick(rows, indices, values, columns));
            Assert.ThrowsAny<ArgumentException>(() => device.AddAt(rows, indices, values, columns));
        }

        Assert.Throws<ArgumentException>(() => device.Gather(table, values, rows, 4, false));
        Assert.Throws<ArgumentException>(() => device.Gather(table, indices, indices, 4, false));
        Assert.Throws<NotSupportedException>(() => device.Gather(indices, indices, rows, 4, false));
        Assert.Throws<ArgumentException>(() => device.ScatterAdd(indices, indices, table, 1));
        Assert.Throws<ArgumentException>(() => device.Pick(rows, values, values, 4));
        Assert.Throws<ArgumentException>(() => device.AddAt(indices, indices, values, 1));
        Return(table, rows, few, values, three, indices);
    }

    [Fact]
    public void CopiesToAndFromTheHostMustFit()
    {
        Block x = Numbers(4), indices = Indices(1, 2);
        Assert.Throws<ArgumentException>(() => device.UploadBytes(new byte[4096], x));
        Assert.Throws<ArgumentException>(() => device.UploadBytes(new byte[17], x));
        Assert.Throws<ArgumentException>(() => device.DownloadBytes(x, 4096, new byte[4096]));
        Assert.Throws<ArgumentException>(() => device.DownloadBytes(x, -1, new byte[16]));
        Assert.Throws<ArgumentException>(() => device.DownloadBytes(x, 16, new byte[15]));
        Assert.Throws<ArgumentException>(() => device.Upload(new float[5], x));
        Assert.Throws<ArgumentException>(() => device.Upload(new int[4], x));
        Assert.Throws<ArgumentException>(() => device.Download(x, new float[3]));
        Assert.Throws<ArgumentException>(() => device.Download(x, new int[4]));
        Assert.Throws<NotSupportedException>(() => device.Upload(new float[2], indices));
        Assert.Throws<NotSupportedException>(() => device.Download(indices, new float[2]));
        Assert.Throws<ArgumentException>(() => device.ReadLater(indices));
        Assert.Throws<ArgumentException>(() => device.Random(indices, RandomKind.Uniform, 1, 1, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => device.Random(x, (RandomKind)9, 1, 1, 1));
        var bytes = new byte[16];
        device.DownloadBytes(x, 16, bytes);
        device.UploadBytes(bytes, x);
        Assert.Equal([1, 1, 1, 1], Read(x));
        Return(x, indices);
    }

    [Fact]
    public void BlocksOutsideTheirMemoryAreRefused()
    {
        Block x = Numbers(4);
        Assert.Throws<ArgumentOutOfRangeException>(() => x.Slice(2, 10));
        Assert.Throws<ArgumentOutOfRangeException>(() => x.Slice(-1, 2));
        Assert.Throws<ArgumentOutOfRangeException>(() => x.Slice(long.MaxValue, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => x.Slice(1, long.MaxValue));
        foreach (Block wrong in (Block[])[x with { Length = 1 << 20 }, x with { Length = -1 }, x with { Offset = -4 }, x with { Offset = 2 }, x with { Offset = 1 << 20 }, x with { Offset = long.MaxValue - 3 }, x with { Length = long.MaxValue / 2 }])
            Assert.ThrowsAny<ArgumentException>(() => device.Fill(wrong, 0));
        Assert.Throws<ArgumentException>(() => device.Fill(default, 0));
        Assert.ThrowsAny<ArgumentException>(() => device.Pool.Rent(-1));
        Assert.ThrowsAny<ArgumentException>(() => device.Pool.Rent(1L << 40, 1L << 40));
        Assert.ThrowsAny<ArgumentException>(() => device.Pool.RentPersistent(long.MaxValue, 2));
        Return(x);
        Block quantized = device.Pool.Rent(2, 512, DType.I8);
        Assert.Throws<NotSupportedException>(() => quantized.Slice(256, 256));
        Assert.Throws<ArgumentException>(() => device.Map(new CopyRule(), 1 << 10, 1, quantized, quantized));
        Return(quantized);
    }

    [Fact]
    public void MapsAndProductsMustFit()
    {
        Block x = Numbers(16), y = Numbers(16), indices = Indices(1);
        Assert.Throws<ArgumentException>(() => device.Map(new CopyRule(), 4, 5, x, y));
        Assert.ThrowsAny<ArgumentException>(() => device.Map(new CopyRule(), -1, 4, x, y));
        Assert.Throws<ArgumentException>(() => device.Map(new CopyRule(), long.MaxValue / 2, 4, x, y));
        Assert.Throws<ArgumentException>(() => device.Map(new CopyRule(), 4, 4, new Operand(x, Stride: long.MaxValue / 2), y));
        Assert.Throws<ArgumentException>(() => device.Map(new CopyRule(), 4, 4, new Operand(x, Stride: -4), y));
        Assert.ThrowsAny<ArgumentException>(() => device.Map(new CopyRule(), 4, 4, new Operand(x, (Layout)77), y));
        Assert.Throws<ArgumentException>(() => device.Map(new CopyRule(), 4, 4, new Operand(x, Factor: indices), y));
        Assert.Throws<ArgumentException>(() => device.Gemm(new GemmArguments(x, x, y, 4, 5, 4)));
        Assert.Throws<ArgumentException>(() => device.Gemm(new GemmArguments(x, x, y, 2, 2, 2) { Batch = 3, BatchStrideC = -4 }));
        Assert.Throws<ArgumentException>(() => device.Gemm(new GemmArguments(x, x, y, 2, 2, 2) { Batch = 3, BatchStrideA = -4, BatchStrideC = 4 }));
        Assert.Throws<ArgumentException>(() => device.Gemm(new GemmArguments(x, x, y, 2, 2, 2) { Batch = 3 }));
        Assert.Throws<ArgumentException>(() => device.Gemm(new GemmArguments(x, x, y, 2, 2, 2) { Batch = 3, BatchStrideA = long.MaxValue / 2 + 8, BatchStrideC = 4 }));
        Assert.Throws<ArgumentException>(() => device.Gemm(new GemmArguments(x, x, y, 4, 4, 4) { StrideA = int.MaxValue }));
        Assert.ThrowsAny<ArgumentException>(() => device.Gemm(new GemmArguments(x, x, y, -1, 4, 4)));
        Assert.Throws<ArgumentException>(() => device.Gemm([new GemmArguments(x, x, y, 4, 4, 4), new GemmArguments(x, x, y, 4, 4, 5)]));
        Assert.Throws<ArgumentException>(() => device.Copy(x, y.Slice(0, 15)));
        Assert.Throws<ArgumentException>(() => device.Rotate(new RotationArguments(x, y) { Rows = 2, Heads = 1 << 30, HeadSize = 1 << 2, Stride = 4 }));
        Assert.Throws<ArgumentException>(() => device.Rotate(new RotationArguments(x, y) { Rows = 5, Heads = 1, HeadSize = 4, Stride = 4 }));
        Return(x, y, indices);
    }

    [Fact]
    public void AttentionMustFit()
    {
        Block x = Numbers(4 * 8), small = Numbers(3), indices = device.Pool.Rent(64, DType.I32);
        var right = new AttentionArguments(x, x, x, x) { Batch = 1, Heads = 2, KeyHeads = 2, HeadSize = 4, QueryLength = 4, KeyLength = 4, QueryStride = 8, KeyStride = 8, OutputStride = 8, Scale = 1, LogSumExp = x };
        AttentionArguments[] wrong =
        [
            right with { QueryStride = 7 }, right with { KeyStride = 4 }, right with { OutputStride = 0 }, right with { QueryStride = -8 }, right with { QueryStride = 9 },
            right with { KeyStride = int.MaxValue }, right with { Batch = 2 }, right with { Batch = -1 }, right with { Batch = int.MaxValue }, right with { QueryLength = 5 },
            right with { KeyLength = 5 }, right with { KeyLength = -1 }, right with { KeyCapacity = 3 }, right with { KeyCapacity = -1 }, right with { Batch = 2, QueryLength = 2, KeyLength = 2, KeyCapacity = 4 },
            right with { HeadSize = -4 }, right with { HeadSize = int.MaxValue }, right with { Heads = 3 }, right with { KeyHeads = 0 }, right with { KeyHeads = -2 }, right with { Heads = -2 },
            right with { LogSumExp = small }, right with { KeyBias = small }, right with { LogSumExp = indices }, right with { Query = indices }, right with { Output = small }, right with { Value = small },
            right with { Dropout = 1 }, right with { Dropout = -0.1f }, right with { Dropout = float.NaN },
        ];
        Assert.All(wrong, arguments => Assert.ThrowsAny<ArgumentException>(() => device.AttentionForward(arguments)));
        Assert.All(wrong, arguments => Assert.ThrowsAny<ArgumentException>(() => device.AttentionBackward(arguments, new AttentionGradients(x, x, x, x))));
        Assert.Throws<ArgumentException>(() => device.AttentionBackward(right with { LogSumExp = null }, new AttentionGradients(x, x, x, x)));
        Assert.Throws<ArgumentException>(() => device.AttentionBackward(right, new AttentionGradients(small, x, x, x)));
        Assert.Throws<ArgumentException>(() => device.AttentionBackward(right, new AttentionGradients(x, small, x, x)));
        Assert.Throws<ArgumentException>(() => device.AttentionBackward(right, new AttentionGradients(x, x, small, x)));
        Assert.Throws<ArgumentException>(() => device.AttentionBackward(right, new AttentionGradients(x, x, x, small)));
        Return(x, small, indices);
    }

    [Fact]
    public void ABlockReturnedTwiceIsRefusedAndRentedOnce()
    {
        Block x = Numbers(4);
        long used = device.Pool.UsedBytes;
        device.Pool.Return(x);
        Assert.Throws<InvalidOperationException>(() => device.Pool.Return(x));
        Assert.Throws<InvalidOperationException>(() => device.Pool.Return(x.Slice(1, 2)));
        Assert.Equal(used - x.Memory.Bytes, device.Pool.UsedBytes);
        Block p = Numbers(4), q = Numbers(4);
        Assert.NotSame(p.Memory, q.Memory);
        Assert.Throws<ObjectDisposedException>(() => Read(x));
        Assert.Throws<InvalidOperationException>(() => device.Pool.Return(x));
        Assert.Throws<ArgumentException>(() => device.Pool.Return(default));
        Return(p, q);
    }

    [Fact]
    public void MemoryOfAnotherDeviceIsRefused()
    {
        using var other = new CpuDevice(1);
        Block here = Numbers(4), there = other.Pool.Rent(4), indices = Indices(0);
        Assert.Throws<ArgumentException>(() => device.Copy(here, there));
        Assert.Throws<ArgumentException>(() => other.Copy(here, there));
        Assert.Throws<ArgumentException>(() => device.Map(new CopyRule(), 1, 4, there, here));
        Assert.Throws<ArgumentException>(() => device.Map(new CopyRule(), 1, 4, new Operand(here, Factor: there), here));
        Assert.Throws<ArgumentException>(() => device.Gather(there, indices, here, 4, false));
        Assert.Throws<ArgumentException>(() => device.Gemm(new GemmArguments(here, there, here, 2, 2, 2)));
        Assert.Throws<ArgumentException>(() => device.Upload(new float[4], there));
        Assert.Throws<ArgumentException>(() => device.Pool.Return(there));
        Return(here, indices);
    }

    private Block Numbers(int count)
    {
        Block block = device.Pool.Rent(count);
        device.Fill(block, 1);
        return block;
    }

    private Block Indices(params int[] values)
    {
        Block block = device.Pool.Rent(values.Length, DType.I32);
        device.Upload(values, block);
        return block;
    }

    private float[] Read(Block block)
    {
        var values = new float[block.Length];
        device.Download(block, values);
        return values;
    }

    private void Return(params Block[] blocks) => Array.ForEach(blocks, block => device.Pool.Return(block));
}

public class CpuMisuseTests() : MisuseTests(new CpuDevice(2));

public class ReferenceMisuseTests() : MisuseTests(new ReferenceDevice());

[Collection("gpu"), Trait("device", "opencl")]
public class OpenClMisuseTests() : GpuMisuseTests(Gpu.OpenCl());

[Collection("gpu"), Trait("device", "cuda")]
public class CudaMisuseTests() : GpuMisuseTests(Gpu.Cuda());

/// <summary>Indices that a GPU alone knows reach no other memory.</summary>
public abstract class GpuMisuseTests(GpuDevice device) : MisuseTests(device)
{
    private readonly GpuDevice device = device;

    [Fact]
    public void IndicesThatOnlyTheDeviceKnowsTouchNothingElse()
    {
        Block known = device.Pool.Rent(3, DType.I32), indices = device.Pool.Rent(3, DType.I32);
        Block table = device.Pool.Rent(8), rows = device.Pool.Rent(6), values = device.Pool.Rent(3);
        device.Upload([1, 400_000_000, 3], known);
        device.Copy(known, indices);
        device.Upload((float[])[1, 2, 3, 4, 5, 6, 7, 8], table);
        device.Gather(table, indices, rows, 2, false);
        Assert.Equal([3, 4, float.NaN, float.NaN, 7, 8], Read(rows));
        device.Fill(rows, 1);
        device.ScatterAdd(rows, indices, table, 2);
        Assert.Equal([1, 2, 4, 5, 5, 6, 8, 9], Read(table));
        device.Upload((float[])[1, 2, 3, 4, 5, 6], rows);
        device.Upload([1, 2, -1], known);
        device.Copy(known, indices);
        device.Pick(rows, indices, values, 2);
        Assert.Equal([2, float.NaN, 0], Read(values));
        device.Fill(values, 10);
        device.AddAt(rows, indices, values, 2);
        Assert.Equal([1, 12, 3, 4, 5, 6], Read(rows));
        foreach (Block block in (Block[])[known, indices, table, rows, values])
            device.Pool.Return(block);
    }

    private float[] Read(Block block)
    {
        var result = new float[block.Length];
        device.Download(block, result);
        return result;
    }
}
