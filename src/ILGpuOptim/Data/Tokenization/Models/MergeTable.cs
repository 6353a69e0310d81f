using System.Buffers;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// The merges of byte-pair encoding (Sennrich et al., ACL 2016). Of all neighbours that can be merged, the pair of the lowest rank is,
/// and of equal ranks the leftmost. Time is O(n log n) at worst and mostly linear, memory O(n) in the number of symbols.
/// </summary>
/// <param name="targets">The token that merges of a rank make. Several pairs may share a rank if they make the same token.</param>
internal sealed class MergeTable(IReadOnlyList<int> targets)
{
    private const int Removed = -1;

    private readonly PairMap ranks = new();

    /// <summary>Gives a pair of tokens a rank; replaces the rank that the pair had.</summary>
    public void Add(int left, int right, int rank) => ranks.Set(left, right, rank);

    /// <summary>Merges neighbours until nothing can be merged.</summary>
    /// <param name="symbols">Token ids, which are changed in place. Negative ones other than −1 are never merged.</param>
    /// <returns>The number of symbols that remain, which stand at the beginning.</returns>
    public int Apply(Span<int> symbols)
    {
        int count = symbols.Length;
        if (count < 2)
            return count;
        int[] previous = ArrayPool<int>.Shared.Rent(count), next = ArrayPool<int>.Shared.Rent(count);
        var queue = new Queue();
        for (int i = 0; i < count; i++)
        {
            (previous[i], next[i]) = (i - 1, i + 1);
            if (i > 0)
                Offer(queue, symbols, i - 1, i);
        }

        while (queue.TryTake(out int first, out int left))
        {
            // Entries become stale when one of their symbols has been merged with another neighbour.
            int target = targets[first], right = next[left];
            if (symbols[left] == Removed || right == count || ranks.Find(symbols[left], symbols[right]) is not (>= 0 and var rank) || targets[rank] != target)
                continue;
            symbols[left] = target;
            symbols[right] = Removed;
            int after = next[left] = next[right];
            if (previous[left] >= 0)
                Offer(queue, symbols, previous[left], left);
            if (after < count)
            {
                previous[after] = left;
                Offer(queue, symbols, left, after);
            }
        }

        int kept = 0;
        for (int i = 0; i < count; i = next[i])
            symbols[kept++] = symbols[i];
        ArrayPool<int>.Shared.Return(previous);
        ArrayPool<int>.Shared.Return(next);
        return kept;
    }

    private void Offer(Queue queue, Span<int> symbols, int left, int right)
    {
        if (ranks.Find(symbols[left], symbols[right]) is >= 0 and var rank)
            queue.Add(rank, left);
    }

    /// <summary>Positions by rank, then by position. Those of a rank mostly come in their order, so that few need a heap.</summary>
    private sealed class Queue
    {
        private readonly Dictionary<int, Places> byRank = [];
        private readonly PriorityQueue<Places, int> waiting = new();

        public void Add(int rank, int position)
        {
            if (!byRank.TryGetValue(rank, out Places? places))
                byRank[rank] = places = new Places();
            if (places.IsEmpty)
                waiting.Enqueue(places, rank);
            places.Add(position);
        }

        public bool TryTake(out int rank, out int position)
        {
            if (!waiting.TryPeek(out Places? places, out rank))
            {
                position = 0;
                return false;
            }

            position = places.Take();
            if (places.IsEmpty)
            {
                waiting.Dequeue();
                byRank.Remove(rank);
            }

            return true;
        }
    }

    /// <summary>The positions of one rank: those that came in order, and a heap of the others.</summary>
    private sealed class Places
    {
        private readonly List<int> ordered = [];
        private PriorityQueue<int, int>? late;
        private int taken;

        public bool IsEmpty => taken == ordered.Count && late is not { Count: > 0 };

        public void Add(int position)
        {
            if (ordered.Count == 0 || position >= ordered[^1])
                ordered.Add(position);
            else
                (late ??= new()).Enqueue(position, position);
        }

        public int Take() => late is { Count: > 0 } && (taken == ordered.Count || late.Peek() < ordered[taken]) ? late.Dequeue() : ordered[taken++];
    }
}
