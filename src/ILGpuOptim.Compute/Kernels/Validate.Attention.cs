namespace ILGpuOptim.Compute;

// Attention and rotation.
internal static partial class Validate
{
    public static void Attention(in AttentionArguments a)
    {
        if (a.Batch < 0 || a.Heads < 0 || a.HeadSize < 0 || a.QueryLength < 0 || a.KeyLength < 0 || a.KeyCapacity < 0)
            throw new ArgumentOutOfRangeException(nameof(a), $"attention: negative size: batch {a.Batch}, {a.Heads} heads of {a.HeadSize}, {a.QueryLength} queries, {a.KeyLength} keys of {a.KeyCapacity}");
        if (a.KeyHeads < 1 || a.Heads % a.KeyHeads != 0)
            throw new ArgumentException($"attention: {a.KeyHeads} key heads do not divide {a.Heads} heads");
        if (a.KeyCapacity != 0 && a.KeyCapacity < a.KeyLength)
            throw new ArgumentException($"attention: {a.KeyLength} keys do not fit a capacity of {a.KeyCapacity}");
        if (!(a.Dropout >= 0 && a.Dropout < 1))
            throw new ArgumentOutOfRangeException(nameof(a), a.Dropout, "attention: dropout lies in [0, 1)");
        if (a.KeysBefore < 0 || a.KeysAfter < 0)
            throw new ArgumentOutOfRangeException(nameof(a), a.KeysBefore < 0 ? a.KeysBefore : a.KeysAfter, "attention: KeysBefore and KeysAfter are at least 0; null is no limit");
        if (!(a.SoftCap >= 0 && float.IsFinite(a.SoftCap)))
            throw new ArgumentOutOfRangeException(nameof(a), a.SoftCap, "attention: the soft cap is a positive number, or 0 for none");
        AttentionRows(a, a.Query, a.Key, a.Value, a.Output);
        if (a.LogSumExp is { } sums)
            Numbers("the log-sum-exp", sums, (Int128)a.Batch * a.Heads * a.QueryLength);
        if (a.KeyBias is { } bias)
            Numbers("the key bias", bias, Math.BigMul(a.Batch, a.KeyLength));
        if (a.DistanceBias is { } distances)
            Numbers("the distance bias", distances, DistanceNumbers(a));
        if (a.Ranges is not { } ranges)
            return;
        Type(ranges, DType.I32);
        Int128 needed = (Int128)a.Batch * a.QueryLength * 2;
        if (ranges.Length < needed)
            throw new ArgumentException($"attention: the ranges need {needed} elements, two per query; the block has {ranges.Length}");
    }

    public static void Attention(in AttentionArguments a, in AttentionGradients gradients)
    {
        if (a.LogSumExp is null)
            throw new ArgumentException("attention: the backward pass needs LogSumExp of the forward pass");
        AttentionRows(a, gradients.Query, gradients.Key, gradients.Value, gradients.Output);
        if (gradients.DistanceBias is not { } distances)
            return;
        if (a.DistanceBias is null)
            throw new ArgumentException("attention: a gradient of the distance bias is requested, but there is no distance bias");
        Numbers("the gradient of the distance bias", distances, DistanceNumbers(a));
    }

    /// <summary>Pairs of first key and end, a sequence after the other: neither falls within a sequence.</summary>
    public static void Ascending(ReadOnlySpan<int> ranges, int numbersOfSequence)
    {
        for (int k = 2; k < ranges.Length; k++)
        {
            if (k % numbersOfSequence >= 2 && ranges[k] < ranges[k - 2])
                throw new ArgumentException($"attention: the ranges decrease from {ranges[k - 2]} to {ranges[k]} at query {k % numbersOfSequence / 2} of sequence {k / numbersOfSequence}; first keys and ends must not decrease within a sequence");
        }
    }

    private static Int128 DistanceNumbers(in AttentionArguments a) => (Int128)a.Distances * a.Heads;

    private static void AttentionRows(in AttentionArguments a, in Block query, in Block key, in Block value, in Block output)
    {
        long width = Heads("queries", a.Heads, a.HeadSize, a.QueryHeadStride), keyWidth = Heads("keys", a.KeyHeads, a.HeadSize, a.KeyHeadStride), queries = Math.BigMul(a.Batch, a.QueryLength);
        int capacity = a.KeyCapacity == 0 ? a.KeyLength : a.KeyCapacity;
        long keys = a.Batch == 0 || a.KeyLength == 0 ? 0 : Math.BigMul(a.Batch - 1, capacity) + a.KeyLength;
        DType type = a.Query.Type;
        if (type is not (DType.F32 or DType.BF16))
            throw new ArgumentException($"attention: queries are {DType.F32} or {DType.BF16}, not {type}");
        Strided("queries", query, type, queries, width, a.QueryStride);
        Strided("keys", key, type, keys, keyWidth, a.KeyStride);
        Strided("values", value, type, keys, keyWidth, a.KeyStride);
        Strided("output", output, type, queries, Math.BigMul(a.Heads, a.HeadSize), a.OutputStride);
    }

    /// <summary>The elements from the first head of a row to the end of the last.</summary>
    private static long Heads(string name, int heads, int size, int stride)
    {
        if (stride < 0 || (stride != 0 && stride < size))
            throw new ArgumentException($"{name}: a stride of {stride} from head to head is less than the {size} elements of a head");
        return heads == 0 ? 0 : Math.BigMul(heads - 1, stride == 0 ? size : stride) + size;
    }

    /// <summary>A block of the queries' type holds rows of some width, a stride apart.</summary>
    private static void Strided(string name, in Block block, DType type, long rows, long width, int stride)
    {
        if (stride < width)
            throw new ArgumentException($"{name}: a stride of {stride} is less than the {width} elements of a row");
        Numbers(name, block, type, rows == 0 ? 0 : (Int128)(rows - 1) * stride + width);
    }

    public static void Rotation(in RotationArguments a)
    {
        if (a.Rows < 0 || a.Heads < 0 || a.HeadSize < 0)
            throw new ArgumentException($"rotation: negative size: {a.Rows} rows of {a.Heads} heads of {a.HeadSize}", nameof(a));
        if (a.RotatedSize < 0 || a.RotatedSize > a.HeadSize || a.RotatedSize % 2 != 0)
            throw new ArgumentException($"rotation: an even number of a head's {a.HeadSize} elements can be rotated, not {a.RotatedSize}", nameof(a));
        long width = Heads("rotated heads", a.Heads, a.HeadSize, a.HeadStride);
        if (a.Stride < width)
            throw new ArgumentException($"rotation: a stride of {a.Stride} is less than the {width} elements of a row", nameof(a));
        if (a.Rows > 0 && (a.Angles.Length < Math.BigMul(a.Rows, a.RotatedSize) || a.Target.Length < (Int128)(a.Rows - 1) * a.Stride + width))
            throw new ArgumentException($"rotation: {a.Rows} rows of {a.Heads} heads of {a.HeadSize} exceed {a.Target.Length} elements or {a.Angles.Length} angles", nameof(a));
    }
}
