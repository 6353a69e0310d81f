namespace ILGpuOptim.Ops;

/// <summary>Prepares inputs that are broadcast to each other for a map over a rectangle.</summary>
internal static class Broadcasting
{
    /// <summary>
    /// Converts inputs in 8 bits to f32. Inputs that cannot be read as a whole rectangle, one value per row or column, or a scalar are repeated in memory over as few axes
    /// as possible. Images times one value per channel, for example, repeat only these values, for each image.
    /// </summary>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast.</exception>
    public static Tensor[] Fit(this Tape tape, string operation, params Tensor[] inputs)
    {
        int[] shape = [];
        foreach (Tensor input in inputs)
        {
            Shapes.NotNull(operation, input);
            shape = Shapes.Broadcast(operation, shape, input.Sizes());
        }

        int best = 0;
        Int128 least = Int128.MaxValue;
        for (int split = shape.Length - 1; split >= 0 && least > 0; split--)
        {
            Int128 cost = 0;
            foreach (Tensor input in inputs)
                cost += Repeated(input, shape, split) is { } repeated ? Shapes.Length(repeated) : 0;
            if (cost < least)
                (best, least) = (split, cost);
        }

        var fitted = new Tensor[inputs.Length];
        for (int k = 0; k < inputs.Length; k++)
        {
            fitted[k] = tape.Floats(inputs[k]);
            if (shape.Length > 0 && Repeated(inputs[k], shape, best) is { } repeated)
                fitted[k] = tape.Expand(fitted[k], repeated);
        }

        return fitted;
    }

    /// <summary>The shape that an input needs in memory when rows are the axes before the split; null if its own suffices.</summary>
    private static int[]? Repeated(Tensor input, int[] shape, int split)
    {
        var own = new int[shape.Length];
        Array.Fill(own, 1);
        input.Sizes().CopyTo(own, shape.Length - input.Shape.Count);
        (bool wholeRows, bool noRows) = Compare(own.AsSpan(0, split), shape.AsSpan(0, split));
        (bool wholeColumns, bool noColumns) = Compare(own.AsSpan(split), shape.AsSpan(split));
        if ((wholeRows || noRows) && (wholeColumns || noColumns))
            return null;
        return noColumns ? [.. shape[..split], .. own[split..]] : noRows ? [.. own[..split], .. shape[split..]] : shape;
    }

    private static (bool Same, bool Ones) Compare(ReadOnlySpan<int> own, ReadOnlySpan<int> shape)
    {
        bool same = true, ones = true;
        for (int k = 0; k < own.Length; k++)
            (same, ones) = (same && own[k] == shape[k], ones && own[k] == 1);
        return (same, ones);
    }
}
