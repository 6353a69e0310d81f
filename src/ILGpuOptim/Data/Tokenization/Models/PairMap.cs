namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// A hash table from pairs of tokens to ranks, with open addressing. The hash mixes both tokens: .NET's own hash of a 64-bit key is 0 for
/// every pair of equal tokens, so all of them would collide.
/// </summary>
internal sealed class PairMap
{
    /// <summary>Marks a free slot. Tokens are not negative.</summary>
    private const ulong Free = ulong.MaxValue;

    private (ulong Pair, int Rank)[] slots = NewSlots(16);
    private int count;

    /// <summary>Sets the rank of a pair.</summary>
    public void Set(int left, int right, int rank)
    {
        if (count >= slots.Length / 2)
        {
            (ulong Pair, int Rank)[] old = slots;
            slots = NewSlots(old.Length * 2);
            foreach ((ulong Pair, int Rank) slot in old)
            {
                if (slot.Pair != Free)
                    slots[SlotOf(slot.Pair)] = slot;
            }
        }

        ulong pair = Key(left, right);
        ref (ulong Pair, int Rank) found = ref slots[SlotOf(pair)];
        count += found.Pair == Free ? 1 : 0;
        found = (pair, rank);
    }

    /// <summary>The rank of a pair; −1 if it has none.</summary>
    public int Find(int left, int right) => slots[SlotOf(Key(left, right))].Rank;

    private static ulong Key(int left, int right) => ((ulong)(uint)left << 32) | (uint)right;

    private static (ulong Pair, int Rank)[] NewSlots(int length)
    {
        var result = new (ulong Pair, int Rank)[length];
        Array.Fill(result, (Free, -1));
        return result;
    }

    /// <summary>The slot of a pair, or the free slot for it.</summary>
    private int SlotOf(ulong pair)
    {
        // Multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4) of both halves.
        ulong hash = (pair ^ (pair >> 29)) * 0x9E3779B97F4A7C15;
        int slot = (int)((hash ^ (hash >> 32)) & (uint)(slots.Length - 1));
        while (slots[slot].Pair != pair && slots[slot].Pair != Free)
            slot = (slot + 1) & (slots.Length - 1);
        return slot;
    }
}
