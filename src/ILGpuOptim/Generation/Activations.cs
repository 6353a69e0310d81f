using ILGpuOptim.Compute;

namespace ILGpuOptim.Generation;

/// <summary>The numbers that a decoder computes for some tokens, in memory that is used for every layer and every step.</summary>
internal sealed class Activations : IDisposable
{
    private readonly Device device;
    private readonly List<Block> rented = [];

    /// <summary>Rents memory for tokens.</summary>
    public Activations(Device device, int rows, DecoderShape shape)
    {
        (this.device, Rows) = (device, rows);
        Ids = Rent(1, DType.I32);
        Positions = Rent(1, DType.I32);
        Residual = Rent(shape.Width);
        Normal = Rent(shape.Width);
        Packed = Rent(shape.PackedWidth);
        Mixed = Rent(shape.QueryWidth);
        Gate = Rent(shape.Inner);
        Inner = Rent(shape.Inner);
        Mean = Rent(1);
        Scale = Rent(1);
        Angles = Rent(shape.HeadSize);
    }

    public int Rows { get; }

    /// <summary>Token ids.</summary>
    public Block Ids { get; }

    /// <summary>Their places in their sequences.</summary>
    public Block Positions { get; }

    /// <summary>The residual stream.</summary>
    public Block Residual { get; }

    /// <summary>The residual stream, normalised.</summary>
    public Block Normal { get; }

    /// <summary>Queries, keys and values.</summary>
    public Block Packed { get; }

    /// <summary>What attention makes of them.</summary>
    public Block Mixed { get; }

    /// <summary>Gates of the feed-forward layer.</summary>
    public Block Gate { get; }

    /// <summary>Inside the feed-forward layer.</summary>
    public Block Inner { get; }

    /// <summary>One number a row.</summary>
    public Block Mean { get; }

    /// <summary>One number a row.</summary>
    public Block Scale { get; }

    /// <summary>Cosines and sines of rotary positions.</summary>
    public Block Angles { get; }

    private Block Rent(int columns, DType type = DType.F32)
    {
        Block block = device.Pool.Rent((long)Rows * columns, type);
        rented.Add(block);
        return block;
    }

    public void Dispose()
    {
        foreach (Block block in rented)
            device.Pool.Return(block);
    }
}

/// <summary>The sizes that a decoder's memory depends on.</summary>
/// <param name="Layers">Of the model.</param>
/// <param name="Width">Numbers for each token.</param>
/// <param name="Heads">Query heads.</param>
/// <param name="KeyHeads">Key and value heads.</param>
/// <param name="HeadSize">Numbers per head.</param>
/// <param name="Inner">The width inside the feed-forward layer.</param>
internal readonly record struct DecoderShape(int Layers, int Width, int Heads, int KeyHeads, int HeadSize, int Inner)
{
    public int QueryWidth => Heads * HeadSize;

    public int KeyWidth => KeyHeads * HeadSize;

    public int PackedWidth => QueryWidth + 2 * KeyWidth;
}
