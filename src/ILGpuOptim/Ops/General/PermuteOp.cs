namespace ILGpuOptim.Ops;

/// <summary>Permutations of axes.</summary>
public static class PermuteOp
{
    /// <summary>result's axis k is x's axis <paramref name="axes"/>[k].</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="axes">Each axis of x once; -1 is the last.</param>
    /// <exception cref="ArgumentException">An axis is missing or named twice.</exception>
    public static Tensor Permute(this Tape tape, Tensor x, params ReadOnlySpan<int> axes)
    {
        Shapes.NotNull("Permute", x);
        int[] sizes = x.Sizes();
        if (axes.Length != sizes.Length)
            throw new ArgumentException($"Permute: {x.Text()} has {sizes.Length} axes; {axes.Length} are named", nameof(axes));
        if (axes.Length > 0)
            Shapes.Axes("Permute", x, axes);
        x = tape.Wide(x);
        long[] strides = Shapes.Strides(sizes), permutedStrides = new long[sizes.Length];
        var shape = new int[sizes.Length];
        bool moves = false;
        int before = -1;
        for (int k = 0; k < shape.Length; k++)
        {
            int axis = Shapes.Axis("Permute", x, axes[k]);
            shape[k] = sizes[axis];
            permutedStrides[k] = strides[axis];
            if (sizes[axis] == 1)
                continue;
            moves |= axis < before;
            before = axis;
        }

        // Where only axes of size 1 move, the elements stay.
        return moves ? tape.StridedRead(x, 0, shape, permutedStrides) : tape.Reshape(x, shape);
    }

    /// <summary>Exchanges two axes; by default the last two, which transposes matrices.</summary>
    public static Tensor Transpose(this Tape tape, Tensor x, int first = -2, int second = -1)
    {
        Shapes.NotNull("Transpose", x);
        int[] axes = [.. Enumerable.Range(0, x.Shape.Count)];
        int a = Shapes.Axis("Transpose", x, first), b = Shapes.Axis("Transpose", x, second);
        (axes[a], axes[b]) = (b, a);
        return tape.Permute(x, axes);
    }

    /// <summary>Moves the marked axes to the end; both groups keep their order.</summary>
    internal static Tensor MoveToEnd(this Tape tape, Tensor x, ReadOnlySpan<bool> meant)
    {
        var axes = new List<int>();
        foreach (bool end in (ReadOnlySpan<bool>)[false, true])
        {
            for (int k = 0; k < meant.Length; k++)
            {
                if (meant[k] == end)
                    axes.Add(k);
            }
        }

        return tape.Permute(x, [.. axes]);
    }

    /// <summary>The inverse of <see cref="MoveToEnd"/>.</summary>
    internal static Tensor MoveBack(this Tape tape, Tensor x, ReadOnlySpan<bool> meant)
    {
        var axes = new int[meant.Length];
        int next = 0;
        foreach (bool end in (ReadOnlySpan<bool>)[false, true])
        {
            for (int k = 0; k < meant.Length; k++)
            {
                if (meant[k] == end)
                    axes[k] = next++;
            }
        }

        return tape.Permute(x, axes);
    }
}
