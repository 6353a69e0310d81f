namespace ILGpuOptim.Compute.Cpu;

/// <summary>
/// The gradient of distance biases; one item is one head. Each block of keys of a sequence has its own sums over its queries; they are added in the
/// order of blocks, then of sequences. A worker with a whole key head adds its blocks itself.
/// </summary>
internal unsafe struct CpuAttentionDistances : IWork
{
    private const int Block = CpuAttentionTile<F4>.Block;

    public CpuAttentionArguments Arguments;

    /// <summary>Blocks of keys that wait for being added; 0 when each head of a sequence has one sum.</summary>
    public int Blocks;

    /// <summary>The sums of all sequences, heads and blocks.</summary>
    public float* Sums;

    /// <summary>Floats of a block's sums: place q - (k - k0) + <see cref="Block"/> - 1 of query q and key k.</summary>
    public static int FloatsOfBlock(in CpuAttentionArguments a) => a.QueryLength + 2 * Block;

    /// <summary>Floats of a head's sums: place q - k + KeyLength - 1.</summary>
    private static long FloatsOfHead(in CpuAttentionArguments a) => (long)a.QueryLength + a.KeyLength;

    /// <summary>The sums of one head of one sequence, when each head has its own.</summary>
    public static float* OfHead(in CpuAttentionArguments a, float* sums, int b, int head) => sums + ((long)b * a.Heads + head) * FloatsOfHead(a);

    /// <summary>The sums of a block of keys that are added later.</summary>
    public static float* OfBlock(in CpuAttentionArguments a, float* sums, int b, int head, int block) =>
        sums + (((long)b * a.Heads + head) * ((a.KeyLength + Block - 1) / Block) + block) * FloatsOfBlock(a);

    /// <summary>Adds the sums of the block of keys from <paramref name="k0"/> on to those of its head.</summary>
    public static void Add(in CpuAttentionArguments a, float* block, int k0, float* head)
    {
        // Positions before these belong to keys beyond the last.
        int skip = Math.Max(0, k0 + Block - a.KeyLength), count = a.QueryLength + Block - 1 - skip;
        float* target = head + a.KeyLength - k0 - Block + skip, source = block + skip;
        for (int k = 0; k < count; k++)
            target[k] += source[k];
    }

    /// <summary>Room for the sums; zeros where blocks are added as they come.</summary>
    public readonly float* Take(CpuScratch scratch)
    {
        long floats = Floats;
        float* result = scratch.Take<float>(floats + 2 * FloatsOfHead(Arguments) * Arguments.Heads);
        for (long k = 0; k < floats && Blocks == 0; k++)
            result[k] = 0;
        return result;
    }

    /// <summary>Floats of the sums of all sequences; behind them each head has two rows of its own.</summary>
    private readonly long Floats => (long)Arguments.Batch * Arguments.Heads * (Blocks == 0 ? FloatsOfHead(Arguments) : (long)Blocks * FloatsOfBlock(Arguments));

    public readonly void Invoke(int head, int worker)
    {
        CpuAttentionArguments a = Arguments;
        long step = FloatsOfHead(a), count = Math.Max(0, step - 1);
        float* total = Sums + Floats + 2 * step * head, sequence = total + step;
        new Span<float>(total, (int)step).Clear();
        for (int b = 0; b < a.Batch; b++)
        {
            float* added = Blocks == 0 ? OfHead(a, Sums, b, head) : sequence;
            if (Blocks > 0)
                new Span<float>(sequence, (int)step).Clear();
            for (int block = 0; block < Blocks; block++)
                Add(a, OfBlock(a, Sums, b, head, block), block * Block, sequence);
            for (long k = 0; k < count; k++)
                total[k] += added[k];
        }

        // A later query is a smaller distance.
        for (long k = 0; k < count; k++)
            a.DistanceGradient[(count - 1 - k) * a.Heads + head] = total[k];
    }
}
