using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>
/// T5's learned bias of attention scores by the distance of key and query (Raffel et al., "Exploring the limits of transfer learning", 2020). Short
/// distances have a bucket each, longer ones share buckets of logarithmic width, and each bucket has a value for each head. One table serves all
/// blocks of a stack.
/// </summary>
public sealed class RelativeBias : Layer
{
    private readonly int[] buckets;
    private readonly int half;

    /// <summary>Makes the table.</summary>
    /// <param name="initializer">Allocates and fills the parameters.</param>
    /// <param name="description">Buckets and distances.</param>
    /// <param name="heads">Attention heads.</param>
    /// <exception cref="ArgumentException">There are too few buckets, or the largest distance lies within those of their own.</exception>
    public RelativeBias(Initializer initializer, RelativeBiasDescription description, int heads)
    {
        int count = description.IsBidirectional ? description.Buckets / 2 : description.Buckets, exact = count / 2;
        if (exact < 1)
            throw new ArgumentException($"{description.Name}: relative_attention_num_buckets = {description.Buckets} is too few; use at least {(description.IsBidirectional ? 4 : 2)}", nameof(description));
        if (description.MaxDistance <= exact)
            throw new ArgumentException($"{description.Name}: relative_attention_max_distance = {description.MaxDistance} must exceed the {exact} distances that have a bucket of their own", nameof(description));
        half = description.IsBidirectional ? count : 0;
        buckets = new int[description.MaxDistance + 1];
        float scale = (float)Math.Log((double)description.MaxDistance / exact);
        for (int distance = 0; distance < buckets.Length; distance++)
            buckets[distance] = distance < exact ? distance : Math.Min(count - 1, exact + (int)(MathF.Log((float)distance / exact) / scale * (count - exact)));
        Weight = Add(initializer, description.Name + ".weight", description.StandardDeviation, 0, description.Buckets, heads);
    }

    /// <summary>The table, buckets × heads.</summary>
    public Parameter Weight { get; }

    /// <summary>
    /// The bucket of a distance, the key's position minus the query's. Without buckets for later keys, these share bucket 0 with the query's own position.
    /// </summary>
    public int BucketOf(int distance)
    {
        int bucket = buckets[Math.Min(half > 0 ? Math.Abs((long)distance) : Math.Max(-(long)distance, 0), buckets.Length - 1)];
        return distance > 0 && half > 0 ? bucket + half : bucket;
    }

    /// <summary>
    /// The bias of every distance between queries and keys, the queries being the last of the positions of the keys: row r is that of a key r -
    /// (keyLength - 1) positions after the query.
    /// </summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="queryLength">Queries of a sequence.</param>
    /// <param name="keyLength">Keys of a sequence, kept ones included.</param>
    /// <returns>(queryLength + keyLength - 1) × heads.</returns>
    public Tensor Forward(Tape tape, int queryLength, int keyLength)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(queryLength);
        ArgumentOutOfRangeException.ThrowIfLessThan(keyLength, queryLength);

        var indices = new int[Math.Max(queryLength + keyLength - 1, 0)];
        for (int row = 0; row < indices.Length; row++)
            indices[row] = BucketOf(row - (keyLength - 1));
        return tape.Embedding(Weight, tape.Indices(indices), DType.F32);
    }
}
