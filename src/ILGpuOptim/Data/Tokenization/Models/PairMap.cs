namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// A map from pairs of tokens to ranks: a hash table with open addressing. The hash mixes both tokens; .NET's own hash of a 64-bit key is 0
/// for every pair of equal tokens, so that a text of one repeated letter would search a long list at each step.
/// </summary>
internal sealed class PairMap
{
    /// <summary>Marks a free place. Tokens of pairs are not negative.</summary>
    private const ulong Free = ulong.MaxValue;

    private (ulong Pair, int Rank)[] places = NewPlaces(16);
    private int count;

    /// <summary>Sets the rank of a pair.</summary>
    public void Set(int left, int right, int rank)
    {
        if (count >= places.Length / 2)
        {
            (ulong Pair, int Rank)[] old = places;
            places = NewPlaces(old.Length * 2);
            foreach ((ulong Pair, int Rank) place in old)
            {
                if (place.Pair != Free)
                    places[PlaceOf(place.Pair)] = place;
            }
        }

        ulong pair = Key(left, right);
        ref (ulong Pair, int Rank) found = ref places[PlaceOf(pair)];
        count += found.Pair == Free ? 1 : 0;
        found = (pair, rank);
    }

    /// <summary>The rank of a pair; −1 when it has none.</summary>
    public int Find(int left, int right) => places[PlaceOf(Key(left, right))].Rank;

    private static ulong Key(int left, int right) => ((ulong)(uint)left << 32) | (uint)right;

    private static (ulong Pair, int Rank)[] NewPlaces(int length)
    {
        var result = new (ulong Pair, int Rank)[length];
        Array.Fill(result, (Free, -1));
        return result;
    }

    /// <summary>Where a pair is, or the free place where it belongs.</summary>
    private int PlaceOf(ulong pair)
    {
        // Multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4) of both halves.
        ulong hash = (pair ^ (pair >> 29)) * 0x9E3779B97F4A7C15;
        int place = (int)((hash ^ (hash >> 32)) & (uint)(places.Length - 1));
        while (places[place].Pair != pair && places[place].Pair != Free)
            place = (place + 1) & (places.Length - 1);
        return place;
    }
}
