using System.Buffers;
using System.Numerics;
using System.Runtime.CompilerServices;

namespace ILGpuOptim.Generation;

/// <summary>
/// The steps between logits and a token, each a function of its arguments alone. Tokens that a step excludes get a logit of −∞.
/// Among equal logits the lowest id comes first. None of them allocates once the pool of arrays is warm.
/// </summary>
public static class Samplers
{
    /// <summary>
    /// Divides positive logits of tokens seen before by a penalty and multiplies negative ones by it (Keskar et al., "CTRL", 2019,
    /// in the form of Hugging Face's library).
    /// </summary>
    /// <param name="logits">One for each token.</param>
    /// <param name="seen">Ids, each once.</param>
    /// <param name="penalty">Above 1 discourages, 1 changes nothing.</param>
    public static void PenalizeRepetition(Span<float> logits, ReadOnlySpan<int> seen, double penalty)
    {
        if (penalty == 1)
            return;
        foreach (int id in seen)
            logits[id] = (float)(logits[id] < 0 ? logits[id] * penalty : logits[id] / penalty);
    }

    /// <summary>Divides by a temperature above 0. The largest logit becomes 0, so that no temperature overflows.</summary>
    public static void ApplyTemperature(Span<float> logits, double temperature)
    {
        float largest = Largest(logits);
        if (float.IsNegativeInfinity(largest))
            return;
        float factor = (float)Math.Min(1 / temperature, float.MaxValue);
        for (int i = 0; i < logits.Length; i++)
            logits[i] = logits[i] == largest ? 0 : (logits[i] - largest) * factor;
    }

    /// <summary>Top-k sampling: keeps the <paramref name="k"/> most probable tokens; all when k is 0 or at least their number.</summary>
    public static void KeepTopK(Span<float> logits, int k)
    {
        if (k <= 0 || k >= logits.Length)
            return;
        float[] values = ArrayPool<float>.Shared.Rent(logits.Length);
        logits.CopyTo(values);
        float least = Select(values.AsSpan(0, logits.Length), k);
        ArrayPool<float>.Shared.Return(values);
        int equals = k;
        foreach (float logit in logits)
            equals -= logit > least ? 1 : 0;
        for (int i = 0; i < logits.Length; i++)
        {
            if (logits[i] < least || (logits[i] == least && equals-- <= 0))
                logits[i] = float.NegativeInfinity;
        }
    }

    /// <summary>
    /// Nucleus (top-p) sampling: keeps the smallest set of most likely tokens whose probabilities add up to <paramref name="p"/> (Holtzman et al.,
    /// "The curious case of neural text degeneration", 2020).
    /// </summary>
    public static void KeepTopP(Span<float> logits, double p)
    {
        float largest = Largest(logits);
        if (p >= 1 || float.IsNegativeInfinity(largest))
            return;
        float[] weights = ArrayPool<float>.Shared.Rent(logits.Length);
        ulong[] order = ArrayPool<ulong>.Shared.Rent(logits.Length);
        double sum = 0;
        for (int i = 0; i < logits.Length; i++)
            sum += weights[i] = MathF.Exp(logits[i] - largest);

        // All tokens below this weight together have less than 1 - p, so none of them is needed.
        double negligible = (1 - p) * sum / logits.Length;
        int count = 0;
        for (int i = 0; i < logits.Length; i++)
        {
            // The bits of positive floats are in the order of their values.
            if (weights[i] > 0 && weights[i] >= negligible)
                order[count++] = (ulong)~BitConverter.SingleToUInt32Bits(weights[i]) << 32 | (uint)i;
        }

        order.AsSpan(0, count).Sort();
        double wanted = p * sum, total = 0;
        int kept = 0;
        do
            total += weights[(uint)order[kept++]];
        while (kept < count && total < wanted);
        for (int i = 0; i < kept; i++)
            weights[i] = logits[(int)(uint)order[i]];
        logits.Fill(float.NegativeInfinity);
        for (int i = 0; i < kept; i++)
            logits[(int)(uint)order[i]] = weights[i];
        ArrayPool<float>.Shared.Return(weights);
        ArrayPool<ulong>.Shared.Return(order);
    }

    /// <summary>
    /// Keeps tokens whose probability is at least <paramref name="p"/> times the largest (Nguyen et al., "Turning up the heat: min-p
    /// sampling", 2024).
    /// </summary>
    public static void KeepMinP(Span<float> logits, double p)
    {
        if (p <= 0)
            return;
        double least = Largest(logits) + Math.Log(p);
        foreach (ref float logit in logits)
        {
            if (logit < least)
                logit = float.NegativeInfinity;
        }
    }

    /// <summary>The id of the largest logit, the lowest of equal ones; 0 when all are −∞.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static int ArgMax(ReadOnlySpan<float> logits)
    {
        float largest = Largest(logits);
        var wanted = new Vector<float>(largest);
        int i = 0;
        while (i <= logits.Length - Vector<float>.Count && !Vector.EqualsAny(new Vector<float>(logits[i..]), wanted))
            i += Vector<float>.Count;
        return i + Math.Max(0, logits[i..].IndexOf(largest));
    }

    /// <summary>The id at which the running sum of the probabilities exceeds a number in [0, 1).</summary>
    /// <param name="logits">One for each token; when all are −∞ the lowest id is drawn.</param>
    /// <param name="uniform">Decides.</param>
    public static int Draw(ReadOnlySpan<float> logits, double uniform)
    {
        float largest = Largest(logits);
        if (float.IsNegativeInfinity(largest))
            return 0;
        float[] weights = ArrayPool<float>.Shared.Rent(logits.Length);
        double sum = 0;
        for (int i = 0; i < logits.Length; i++)
            sum += weights[i] = float.IsNegativeInfinity(logits[i]) ? 0 : MathF.Exp(logits[i] - largest);
        double left = uniform * sum;
        int drawn = 0;
        for (int i = 0; i < logits.Length; i++)
        {
            if (weights[i] == 0)
                continue;
            drawn = i;
            left -= weights[i];
            if (left < 0)
                break;
        }

        ArrayPool<float>.Shared.Return(weights);
        return drawn;
    }

    /// <summary>The logarithm of a token's probability.</summary>
    public static double LogProbability(ReadOnlySpan<float> logits, int id)
    {
        float largest = Largest(logits);
        if (float.IsNegativeInfinity(largest))
            return double.NegativeInfinity;
        double sum = 0;
        foreach (float logit in logits)
            sum += Math.Exp(logit - largest);
        return logits[id] - largest - Math.Log(sum);
    }

    /// <summary>True if any logit is NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static bool HasNaN(ReadOnlySpan<float> logits)
    {
        int i = 0;
        Vector<int> equal = Vector<int>.AllBitsSet;
        for (; i <= logits.Length - Vector<float>.Count; i += Vector<float>.Count)
        {
            var values = new Vector<float>(logits[i..]);
            equal &= Vector.Equals(values, values);
        }

        bool numbers = equal == Vector<int>.AllBitsSet;
        for (; i < logits.Length; i++)
            numbers &= !float.IsNaN(logits[i]);
        return !numbers;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Largest(ReadOnlySpan<float> logits)
    {
        var largest = new Vector<float>(float.NegativeInfinity);
        Vector<float> second = largest, third = largest, fourth = largest;
        int i = 0, width = Vector<float>.Count;
        for (; i <= logits.Length - 4 * width; i += 4 * width)
        {
            ReadOnlySpan<float> next = logits.Slice(i, 4 * width);
            largest = Vector.Max(new Vector<float>(next), largest);
            second = Vector.Max(new Vector<float>(next[width..]), second);
            third = Vector.Max(new Vector<float>(next[(2 * width)..]), third);
            fourth = Vector.Max(new Vector<float>(next[(3 * width)..]), fourth);
        }

        largest = Vector.Max(Vector.Max(largest, second), Vector.Max(third, fourth));
        float result = float.NegativeInfinity;
        for (int lane = 0; lane < width; lane++)
            result = Math.Max(result, largest[lane]);
        for (; i < logits.Length; i++)
            result = Math.Max(result, logits[i]);
        return result;
    }

    /// <summary>The k-th largest of some values, which are rearranged (Hoare's selection).</summary>
    private static float Select(Span<float> values, int k)
    {
        int first = 0, last = values.Length - 1, wanted = k - 1;
        while (first < last)
        {
            float pivot = MiddleOf(values[first], values[(first + last) / 2], values[last]);
            int i = first, j = last;
            while (i <= j)
            {
                while (values[i] > pivot)
                    i++;
                while (values[j] < pivot)
                    j--;
                if (i <= j)
                {
                    (values[i], values[j]) = (values[j], values[i]);
                    i++;
                    j--;
                }
            }

            if (wanted <= j)
                last = j;
            else if (wanted >= i)
                first = i;
            else
                break;
        }

        return values[wanted];
    }

    private static float MiddleOf(float a, float b, float c) => Math.Max(Math.Min(a, b), Math.Min(Math.Max(a, b), c));
}
