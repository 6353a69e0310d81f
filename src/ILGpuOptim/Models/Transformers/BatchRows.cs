namespace ILGpuOptim.Models;

/// <summary>
/// Positions, position-table rows and masks of a batch's tokens. Those of plain batches are computed once for each shape; other batches reuse
/// the arrays, so that a step allocates nothing.
/// </summary>
internal sealed class BatchRows
{
    private int[] positions = [], zeros = [], places = [], ranges = [], restarting = [];
    private float[] keyBias = [];
    private int plainLength;

    /// <summary>0, 1, … of each sequence.</summary>
    public ReadOnlySpan<int> Positions(int count, int length)
    {
        if (positions.Length != count || plainLength != length)
        {
            plainLength = length;
            positions = new int[count];
            for (int i = 0; i < count; i++)
                positions[i] = i % length;
        }

        return positions;
    }

    /// <summary>Zeros: the first segment for every token.</summary>
    public ReadOnlySpan<int> Zeros(int count)
    {
        if (zeros.Length < count)
            zeros = new int[count];
        return zeros.AsSpan(0, count);
    }

    /// <summary>
    /// RoBERTa's positions: the padding id plus the number of other ids up to a token of its sequence or document; that of padding is the id itself.
    /// </summary>
    public ReadOnlySpan<int> AfterPadding(ReadOnlySpan<int> tokens, ReadOnlySpan<int> documents, int length, int padding)
    {
        Span<int> result = Sized(ref places, tokens.Length);
        for (int i = 0, count = 0; i < result.Length; i++)
        {
            count = i % length == 0 || (!documents.IsEmpty && documents[i] != documents[i - 1]) ? 0 : count;
            result[i] = tokens[i] == padding ? padding : padding + ++count;
        }

        return result;
    }

    /// <summary>The bias of each key's scores: 0, or minus infinity for padding.</summary>
    public ReadOnlySpan<float> KeyBias(ReadOnlySpan<int> mask)
    {
        Span<float> values = Sized(ref keyBias, mask.Length);
        for (int i = 0; i < values.Length; i++)
            values[i] = mask[i] != 0 ? 0 : float.NegativeInfinity;
        return values;
    }

    /// <summary>The first key of each token's document and the end of its keys, within the sequence.</summary>
    public ReadOnlySpan<int> Ranges(ReadOnlySpan<int> documents, int length)
    {
        Span<int> result = Sized(ref ranges, 2 * documents.Length);
        for (int start = 0, end; start < documents.Length; start = end)
        {
            end = EndOfDocument(documents, start, length);
            for (int i = start; i < end; i++)
                (result[2 * i], result[2 * i + 1]) = (start % length, (end - 1) % length + 1);
        }

        return result;
    }

    /// <summary>0, 1, … of each document.</summary>
    public ReadOnlySpan<int> Restarting(ReadOnlySpan<int> documents, int length)
    {
        Span<int> result = Sized(ref restarting, documents.Length);
        for (int start = 0, end; start < documents.Length; start = end)
        {
            end = EndOfDocument(documents, start, length);
            for (int i = start; i < end; i++)
                result[i] = i - start;
        }

        return result;
    }

    private static Span<T> Sized<T>(ref T[] array, int count)
    {
        if (array.Length < count)
            array = new T[count];
        return array.AsSpan(0, count);
    }

    private static int EndOfDocument(ReadOnlySpan<int> documents, int start, int length)
    {
        int end = start + 1;
        while (end < documents.Length && end % length != 0 && documents[end] == documents[start])
            end++;
        return end;
    }
}
