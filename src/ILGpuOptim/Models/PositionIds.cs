namespace ILGpuOptim.Models;

/// <summary>The positions 0, 1, … of each sequence of a batch, kept while batches have one shape.</summary>
internal sealed class PositionIds
{
    private int[] ids = [];
    private int length;

    /// <summary>The positions of <paramref name="count"/> tokens in sequences of <paramref name="length"/>.</summary>
    public ReadOnlySpan<int> Of(int count, int length)
    {
        if (ids.Length != count || this.length != length)
        {
            this.length = length;
            ids = new int[count];
            for (int i = 0; i < ids.Length; i++)
                ids[i] = i % length;
        }

        return ids;
    }
}
