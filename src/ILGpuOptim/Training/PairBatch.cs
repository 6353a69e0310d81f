using ILGpuOptim.Data.Conversations;

namespace ILGpuOptim.Training;

/// <summary>
/// The pairs of a batch, whose rows are alternately the chosen and the rejected side of a window. Arrays have the size of the batch, however many pairs it
/// holds: entry p belongs to the chosen answer of pair p, and entry p + <see cref="Capacity"/> to the rejected one.
/// </summary>
/// <param name="rows">Rows of the batch, two for each window.</param>
/// <param name="block">Tokens per row.</param>
internal sealed class PairBatch(int rows, int block)
{
    /// <summary>The most pairs that the batch can hold.</summary>
    public int Capacity { get; } = rows * block / 2;

    /// <summary>The number of pairs.</summary>
    public int Count { get; private set; }

    /// <summary>The entry of each token's answer; 0 where there is none.</summary>
    public int[] Entries { get; } = new int[rows * block];

    /// <summary>The conversation of each entry, numbered as in the data.</summary>
    public int[] Conversations { get; } = new int[rows * block];

    /// <summary>The number of targets of each entry; 0 for those without a pair.</summary>
    public int[] Lengths { get; } = new int[rows * block];

    /// <summary>Empties the batch.</summary>
    public void Clear()
    {
        Count = 0;
        Array.Clear(Entries);
        Array.Clear(Lengths);
    }

    /// <summary>Adds the pairs of a window.</summary>
    /// <param name="members">Their numbers.</param>
    /// <param name="row">The row of the chosen side; the rejected side is in the next one.</param>
    /// <param name="targets">The targets of the batch.</param>
    /// <param name="documents">The number of each token's conversation in its window.</param>
    public void Add(ReadOnlySpan<int> members, int row, ReadOnlySpan<int> targets, ReadOnlySpan<int> documents)
    {
        for (int side = 0; side < 2; side++)
        {
            int first = Count + (side * Capacity);
            for (int i = 0; i < members.Length; i++)
                Conversations[first + i] = (members[i] * 2) + side;
            for (int i = (row + side) * block; i < (row + side + 1) * block; i++)
            {
                if (targets[i] < 0)
                    continue;
                Entries[i] = first + documents[i];
                Lengths[Entries[i]]++;
            }
        }

        Count += members.Length;
    }
}
