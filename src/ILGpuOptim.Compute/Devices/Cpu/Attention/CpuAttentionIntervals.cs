using System.Numerics;
using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>
/// The keys of a tile's queries: query i has those from <c>First[i]</c> to before <c>End[i]</c>, relative to the tile. Neither decreases
/// from one query to the next, so the queries of a key are an interval too. Nothing is stored for unmasked tiles.
/// </summary>
internal unsafe struct CpuAttentionIntervals
{
    private const int Block = CpuAttentionTile<F4>.Block;

    /// <summary>Floats of scratch.</summary>
    public const int Floats = 2 * Block;

    /// <summary>One number for each query; those that are missing repeat the last.</summary>
    public readonly float* First, End;

    /// <summary>The tile's queries and keys.</summary>
    public int Queries, Keys;

    /// <summary>True if every query attends to every key.</summary>
    public bool IsWhole;

    public CpuAttentionIntervals(float* scratch)
    {
        First = scratch;
        End = scratch + Block;
    }

    /// <summary>Sets the tile of queries from <paramref name="q0"/> and keys from <paramref name="k0"/> on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Of(in CpuAttentionArguments a, int b, int q0, int queries, int k0, int keys)
    {
        Queries = queries;
        Keys = keys;
        IsWhole = a.First(b, q0 + queries - 1) <= k0 && a.End(b, q0) >= k0 + keys;
        if (IsWhole)
            return;
        if (a.Ranges == null)
        {
            Window(a, (long)q0 + a.KeyLength - a.QueryLength - k0);
            return;
        }

        for (int i = 0; i < Block; i++)
        {
            int query = q0 + Math.Min(i, queries - 1);
            First[i] = Math.Clamp(a.First(b, query) - k0, 0, keys);
            End[i] = Math.Clamp(a.End(b, query) - k0, 0, keys);
        }
    }

    /// <summary>Where only the position of a query counts; the first query's, from the tile's first key on, is <paramref name="position"/>.</summary>
    private readonly void Window(in CpuAttentionArguments a, long position)
    {
        // Values that f32 rounds are far outside the tile.
        Vector<float> first = Vector.Create((float)(position - a.Before)), end = Vector.Create((float)(position + a.After + 1));
        Vector<float> last = Vector.Create(Queries - 1f), most = Vector.Create((float)Keys);
        for (int i = 0; i < Block; i += Vector<float>.Count)
        {
            Vector<float> query = Vector.Min(Vector.CreateSequence((float)i, 1f), last);
            Vector.Min(Vector.Max(first + query, Vector<float>.Zero), most).Store(First + i);
            Vector.Min(Vector.Max(end + query, Vector<float>.Zero), most).Store(End + i);
        }
    }

    /// <summary>The first key of query <paramref name="i"/> or any later query.</summary>
    public readonly int FirstKey(int i) => IsWhole ? 0 : (int)First[i];

    /// <summary>The end of the keys of query <paramref name="i"/> or any earlier query.</summary>
    public readonly int EndKey(int i) => IsWhole ? Keys : (int)End[i];

    /// <summary>The first query from <paramref name="query"/> on that attends to key <paramref name="key"/> or a later one.</summary>
    public readonly int FirstQuery(int query, int key)
    {
        while (!IsWhole && query < Queries && End[query] <= key)
            query++;
        return query;
    }

    /// <summary>The first query from <paramref name="query"/> on that attends to no key before <paramref name="key"/>.</summary>
    public readonly int EndQuery(int query, int key)
    {
        if (IsWhole)
            return Queries;
        while (query < Queries && First[query] < key)
            query++;
        return query;
    }

    /// <summary>The keys of the queries in the columns around <paramref name="column"/>, in whole register tiles.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly (int First, int End) Rows<L>(int column) where L : struct, IVectorLane<L>
    {
        if (IsWhole)
            return (0, CpuAttentionTile<L>.PaddedRows(Keys));
        column -= column % CpuAttentionTile<L>.Columns;
        return ((int)First[column] / CpuAttentionTile<L>.Rows * CpuAttentionTile<L>.Rows, CpuAttentionTile<L>.PaddedRows((int)End[column + CpuAttentionTile<L>.Columns - 1]));
    }

    /// <summary>The keys that all queries of the vector at <paramref name="column"/> see.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly (int First, int End) Seen<L>(int column) where L : struct, IVectorLane<L> =>
        IsWhole ? (0, Keys) : ((int)First[column + L.Count - 1], (int)End[column]);

    /// <summary>The first keys of the vector of queries at <paramref name="column"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly L FirstKeys<L>(int column) where L : struct, IVectorLane<L> => IsWhole ? default : L.Load(First + column);

    /// <summary>The ends of the keys of the vector of queries at <paramref name="column"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly L EndKeys<L>(int column) where L : struct, IVectorLane<L> => IsWhole ? L.Splat(Keys) : L.Load(End + column);

    /// <summary>Values where queries see key <paramref name="key"/>, <paramref name="hidden"/> where they do not.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static L Mask<L>(L values, int key, L first, L end, L hidden) where L : struct, IVectorLane<L>
    {
        L place = L.Splat(key);
        return L.Select(L.Less(place, first), hidden, L.Select(L.Less(place, end), values, hidden));
    }
}
