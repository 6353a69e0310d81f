using System.Buffers;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// The merges of byte-pair encoding (Sennrich et al., ACL 2016). Each step merges the adjacent pair with the lowest rank, the leftmost
/// of equal ranks. For n symbols, time is O(n log n) in the worst case and usually linear; memory is O(n).
/// </summary>
/// <param name="targets">The merged token of each rank. Several pairs may share a rank if they yield the same token.</param>
internal sealed class MergeTable(IReadOnlyList<int> targets)
{
    private const int Removed = -1;

    private readonly PairMap ranks = new();

    /// <summary>Sets the rank of a pair of tokens.</summary>
    public void Add(int left, int right, int rank) => ranks.Set(left, right, rank);

    /// <summary>Merges adjacent symbols until no pair has a rank.</summary>
    /// <param name="symbols">Token ids, modified in place. Negative ids other than −1 are never merged.</param>
    /// <returns>The number of remaining symbols, which are at the start of the span.</returns>
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
            // An entry is stale if one of its symbols was merged with its other neighbour.
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

    /// <summary>Positions ordered by rank, then by position. Positions of one rank usually arrive in order, so few need a heap.</summary>
    private sealed class Queue
    {
        private readonly Dictionary<int, Positions> byRank = [];
        private readonly PriorityQueue<Positions, int> ranksInUse = new();

        public void Add(int rank, int position)
        {
            if (!byRank.TryGetValue(rank, out Positions? positions))
                byRank[rank] = positions = new Positions();
            if (positions.IsEmpty)
                ranksInUse.Enqueue(positions, rank);
            positions.Add(position);
        }

        public bool TryTake(out int rank, out int position)
        {
            if (!ranksInUse.TryPeek(out Positions? positions, out rank))
            {
                position = 0;
                return false;
            }

            position = positions.Take();
            if (positions.IsEmpty)
            {
                ranksInUse.Dequeue();
                byRank.Remove(rank);
            }

            return true;
        }
    }

    /// <summary>The positions of one rank: those that arrived in order, and a heap of the others.</summary>
    private sealed class Positions
    {
        private readonly List<int> ordered = [];
        private PriorityQueue<int, int>? unordered;
        private int taken;

        public bool IsEmpty => taken == ordered.Count && unordered is not { Count: > 0 };

        public void Add(int position)
        {
            if (ordered.Count == 0 || position >= ordered[^1])
                ordered.Add(position);
            else
                (unordered ??= new()).Enqueue(position, position);
        }

        public int Take() => unordered is { Count: > 0 } && (taken == ordered.Count || unordered.Peek() < ordered[taken]) ? unordered.Dequeue() : ordered[taken++];
    }
}
