namespace ILGpuOptim.Tests.Autograd;

/// <summary>An array of any number of axes, by which tests compute what operations should give, one element at a time.</summary>
internal sealed class NdArray(int[] shape, double[] values)
{
    public int[] Shape => shape;

    public double[] Values => values;

    public double this[params ReadOnlySpan<int> place]
    {
        get => values[IndexOf(place)];
        set => values[IndexOf(place)] = value;
    }

    public static NdArray Make(int[] shape, Func<int[], double> element)
    {
        var result = new NdArray(shape, new double[shape.Aggregate(1, (length, size) => length * size)]);
        foreach (int[] place in result.Places())
            result[place] = element(place);
        return result;
    }

    /// <summary>Every place, in order.</summary>
    public IEnumerable<int[]> Places()
    {
        for (int i = 0; i < values.Length; i++)
        {
            var place = new int[shape.Length];
            for (int k = shape.Length - 1, rest = i; k >= 0; rest /= shape[k--])
                place[k] = rest % shape[k];
            yield return place;
        }
    }

    /// <summary>The element at a place of a larger shape that this one is broadcast to.</summary>
    public double Broadcast(int[] place) =>
        this[[.. shape.Select((size, k) => size == 1 ? 0 : place[place.Length - shape.Length + k])]];

    /// <summary>For each place of the other axes, the elements along the given ones, in order.</summary>
    public NdArray Reduce(int[] axes, bool keepDims, Func<double[], double> of)
    {
        bool[] meant = [.. shape.Select((_, k) => axes.Length == 0 || axes.Contains(k) || axes.Contains(k - shape.Length))];
        int[] kept = [.. shape.Select((size, k) => meant[k] ? 1 : size)];
        NdArray result = Make(kept, place => of([.. Places().Where(other => other.Select((p, k) => meant[k] || p == place[k]).All(fits => fits)).Select(other => this[other])]));
        return keepDims ? result : new NdArray([.. shape.Where((_, k) => !meant[k])], result.Values);
    }

    public static int[] BroadcastShape(params int[][] shapes)
    {
        int rank = shapes.Max(shape => shape.Length);
        return [.. Enumerable.Range(0, rank).Select(k => shapes.Select(shape => k - rank + shape.Length < 0 ? 1 : shape[k - rank + shape.Length]).Aggregate(1, (a, b) => a == 1 ? b : a))];
    }

    private int IndexOf(ReadOnlySpan<int> place)
    {
        Assert.Equal(shape.Length, place.Length);
        int index = 0;
        for (int k = 0; k < shape.Length; k++)
        {
            Assert.InRange(place[k], 0, shape[k] - 1);
            index = index * shape[k] + place[k];
        }

        return index;
    }
}
