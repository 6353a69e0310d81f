using System.Numerics;

namespace ILGpuOptim.Compute;

/// <summary>The smallest and largest of some indices.</summary>
internal static class IndexRange
{
    /// <summary>Of at least one index.</summary>
    public static (int Min, int Max) Of(ReadOnlySpan<int> indices)
    {
        int least = indices[0], most = indices[0], i = 0;
        if (indices.Length >= Vector<int>.Count)
        {
            Vector<int> low = new(indices), high = low;
            for (; i <= indices.Length - Vector<int>.Count; i += Vector<int>.Count)
            {
                var here = new Vector<int>(indices[i..]);
                (low, high) = (Vector.Min(low, here), Vector.Max(high, here));
            }

            for (int lane = 0; lane < Vector<int>.Count; lane++)
                (least, most) = (Math.Min(least, low[lane]), Math.Max(most, high[lane]));
        }

        for (; i < indices.Length; i++)
            (least, most) = (Math.Min(least, indices[i]), Math.Max(most, indices[i]));
        return (least, most);
    }
}
