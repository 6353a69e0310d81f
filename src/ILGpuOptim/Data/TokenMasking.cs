using ILGpuOptim.Compute;

namespace ILGpuOptim.Data;

/// <summary>
/// Hides tokens for a masked language model (Devlin et al., 2019, section 3.1): a fraction of each sequence's positions is
/// sampled for every batch; of those tokens 80 % become the mask, 10 % another token, 10 % stay, and all of them are to
/// be predicted. The number of positions is the same for every sequence. Like batches, masks depend on the seed, the
/// stream and the batch's number alone, so that a resumed run continues exactly.
/// </summary>
internal sealed class TokenMasking
{
    /// <summary>Keeps the counters apart from those of batches, dropout and initial weights.</summary>
    private const ulong Streams = 0x4D41534B_00000000;

    private readonly int mask, vocabulary, block;
    private readonly double fraction;
    private readonly ulong seed;
    private readonly int[] order;

    /// <summary>Prepares for sequences of one length.</summary>
    /// <param name="mask">The id of the mask token.</param>
    /// <param name="vocabulary">The vocabulary size.</param>
    /// <param name="block">Tokens per sequence.</param>
    /// <param name="fraction">The fraction of positions to predict, in (0, 1].</param>
    /// <param name="seed">The seed of the masks.</param>
    public TokenMasking(int mask, int vocabulary, int block, double fraction, ulong seed)
    {
        (this.mask, this.vocabulary, this.block, this.fraction, this.seed) = (mask, vocabulary, block, fraction, seed);
        Count = CountOf(block);
        order = new int[block];
    }

    /// <summary>The number of positions to predict per sequence.</summary>
    public int Count { get; }

    /// <summary>Masks tokens of a batch in place. Allocates nothing.</summary>
    /// <param name="stream">Selects a sequence of random batches, as for <see cref="BatchSampler"/>.</param>
    /// <param name="batch">The batch's number.</param>
    /// <param name="tokens">Concatenated sequences of the block's length.</param>
    /// <param name="targets">As many ids: the original ids of the masked tokens, and <see cref="SequentialWindows.Ignored"/> elsewhere.</param>
    /// <param name="valid">The number of tokens of the last sequence without padding; padding is unchanged.</param>
    public void Apply(ulong stream, ulong batch, Span<int> tokens, Span<int> targets, int valid = int.MaxValue)
    {
        int rows = tokens.Length / block;
        targets.Fill(SequentialWindows.Ignored);
        for (int row = 0; row < rows; row++)
        {
            int length = row == rows - 1 ? Math.Min(block, valid) : block;
            Hide(stream, batch * (ulong)rows + (ulong)row, tokens.Slice(row * block, length), targets.Slice(row * block, length), Math.Min(Count, length));
        }
    }

    /// <summary>Masks sequences of different lengths: the fraction applies to the tokens of each sequence, and at least one token is masked.</summary>
    /// <param name="stream">As for the other overload.</param>
    /// <param name="batch">The batch's number.</param>
    /// <param name="tokens">Concatenated sequences of the block's length.</param>
    /// <param name="targets">As for the other overload.</param>
    /// <param name="lengths">The number of tokens of each sequence without padding; padding is unchanged.</param>
    public void Apply(ulong stream, ulong batch, Span<int> tokens, Span<int> targets, ReadOnlySpan<int> lengths)
    {
        targets.Fill(SequentialWindows.Ignored);
        for (int row = 0; row < lengths.Length; row++)
        {
            int length = lengths[row];
            Hide(stream, batch * (ulong)lengths.Length + (ulong)row, tokens.Slice(row * block, length), targets.Slice(row * block, length), CountOf(length));
        }
    }

    private int CountOf(int length) => length == 0 ? 0 : Math.Clamp((int)Math.Round(length * fraction), 1, length);

    private void Hide(ulong stream, ulong sequence, Span<int> tokens, Span<int> targets, int count)
    {
        for (int i = 0; i < tokens.Length; i++)
            order[i] = i;
        for (int i = 0; i < count; i++)
        {
            (uint where, uint how, uint other, _) = Philox.Generate(seed, Streams + stream, (sequence * (ulong)block) + (ulong)i);

            // The first steps of a shuffle: each position is sampled at most once.
            int chosen = i + Scale(where, tokens.Length - i);
            (order[i], order[chosen]) = (order[chosen], order[i]);
            ref int token = ref tokens[order[i]];
            targets[order[i]] = token;
            int tenth = Scale(how, 10);
            token = tenth < 8 ? mask : tenth == 8 ? Scale(other, vocabulary) : token;
        }
    }

    /// <summary>Maps a random word to an integer in [0, <paramref name="count"/>).</summary>
    private static int Scale(uint word, int count) => (int)((ulong)word * (uint)count >> 32);
}
