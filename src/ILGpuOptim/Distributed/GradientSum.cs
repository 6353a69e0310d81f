using ILGpuOptim.Compute;

namespace ILGpuOptim.Distributed;

/// <summary>How ranks send gradients to each other.</summary>
public enum GradientExchange
{
    /// <summary>As they are, in f32.</summary>
    F32,

    /// <summary>
    /// Rounded to bf16, which halves their bytes. Both operands of each addition of the binary tree over shards are rounded to the nearest, ties to even, also
    /// those that do not leave their rank; the additions are made in f32, and the last sum is not rounded. So results do not depend on the number of ranks.
    /// </summary>
    BF16,
}

/// <summary>Adds gradients along the binary tree over shards.</summary>
internal sealed class GradientSum : IDisposable
{
    private const int Chunk = 1 << 20;

    private readonly Device device;
    private readonly Block? rounded;

    /// <summary>Takes memory for rounded values.</summary>
    /// <param name="device">The device of the gradients.</param>
    /// <param name="exchange">How operands are rounded.</param>
    /// <param name="longest">The number of elements of the largest parameter.</param>
    public GradientSum(Device device, GradientExchange exchange, long longest)
    {
        this.device = device;
        if (exchange == GradientExchange.F32)
            return;
        Type = DType.BF16;
        rounded = device.Pool.RentPersistent(1, Math.Min(Chunk, longest), Type);
    }

    /// <summary>The type of the second operand of an addition: <see cref="DType.F32"/> or <see cref="DType.BF16"/>.</summary>
    public DType Type { get; } = DType.F32;

    /// <summary>Adds to a sum, which is rounded first, a gradient or sum that is stored in <see cref="Type"/>.</summary>
    public void Add(in Block sum, in Block other)
    {
        if (rounded is not { } memory)
        {
            device.Map(new AddRule(), 1, sum.Length, sum, other);
            return;
        }

        for (long start = 0; start < sum.Length; start += memory.Length)
        {
            long count = Math.Min(memory.Length, sum.Length - start);
            Block part = sum.Slice(start, count), copy = memory.Slice(0, count);
            device.Copy(part, copy);
            device.Copy(copy, part);
            device.Map(new AddRule(), 1, count, part, other.Slice(start, count));
        }
    }

    /// <summary>Returns the memory to the pool.</summary>
    public void Dispose()
    {
        if (rounded is { } memory)
            device.Pool.Return(memory);
    }
}
