using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Tests.Devices;

/// <summary>A device beside the reference device.</summary>
public abstract class DeviceComparison(Device device, bool isShared) : IDisposable
{
    private readonly ReferenceDevice reference = new();

    /// <summary>The device that is tested.</summary>
    protected Device Tested => device;

    /// <summary>The device that it is compared with.</summary>
    protected Device Reference => reference;

    public void Dispose()
    {
        if (!isShared)
            device.Dispose();
        reference.Dispose();
        GC.SuppressFinalize(this);
    }

    protected static Block Random(Device d, long length, ulong stream)
    {
        Block block = d.Pool.Rent(length);
        d.Random(block, RandomKind.Normal, 1, 42, stream);
        return block;
    }

    protected static Block Indices(Device d, int[] values)
    {
        Block block = d.Pool.Rent(values.Length, DType.I32);
        d.Upload(values, block);
        return block;
    }

    protected static float[] Download(Device d, Block block)
    {
        var values = new float[block.Length];
        d.Download(block, values);
        return values;
    }

    /// <summary>Runs the same on both devices; errors are relative to the largest value, sums also to <paramref name="terms"/>.</summary>
    protected void Compare(string what, int length, double tolerance, Action<Device, Block> run, double terms = 1)
    {
        Block mine = device.Pool.Rent(length), theirs = reference.Pool.Rent(length);
        run(device, mine);
        run(reference, theirs);
        float[] actual = Download(device, mine), expected = Download(reference, theirs);
        double largest = Math.Max(terms, expected.Where(float.IsFinite).Select(value => Math.Abs((double)value)).DefaultIfEmpty(0).Max());
        for (int i = 0; i < length; i++)
            Assert.True(actual[i].Equals(expected[i]) || Math.Abs(actual[i] - expected[i]) <= tolerance * largest, $"{what}[{i}] of {length}: {actual[i]} instead of {expected[i]}");
    }

    /// <summary>A rule of two operands: tanh a + b / 2.</summary>
    protected readonly struct Mix : IMap2
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a, ref L b) where L : struct, ILane<L> => a = L.Tanh(a) + L.Splat(0.5f) * b;
    }
}
