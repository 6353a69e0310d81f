namespace ILGpuOptim.Ops;

/// <summary>Checks the shapes of products and other layers with weights. Messages name the layer, the shape it requires, and the shape it was given.</summary>
internal static class ProductShape
{
    /// <summary>Up to this number of rows, reading the weight dominates a product, and the number of launches and passes over the result matters.</summary>
    public const int FewRows = 4;

    /// <summary>The columns of x W.</summary>
    /// <exception cref="ArgumentException">The weight does not fit x, or the bias does not have one value per output.</exception>
    public static int Outputs(string operation, Tensor x, Tensor weight, Tensor? bias, bool transposed)
    {
        Shapes.NotNull(operation, x);
        Matrix(operation, weight);
        (int inputs, int outputs) = transposed ? (weight.Columns, weight.Rows) : (weight.Rows, weight.Columns);
        if (x.Columns != inputs || (bias is not null && bias.Length != outputs))
            throw Refused(operation, x, weight, bias, inputs, outputs);
        return outputs;
    }

    // Messages are composed apart from the checks: a method that composes one prepares for it at each call.
    private static ArgumentException Refused(string operation, Tensor x, Tensor weight, Tensor? bias, int inputs, int outputs) => x.Columns != inputs
        ? new ArgumentException($"{Named(operation, weight)} takes {inputs} columns, x is {x}", nameof(x))
        : new ArgumentException($"{Named(operation, weight)} makes {outputs} columns, its bias is {bias}", nameof(bias));

    /// <summary>Requires two axes of a weight.</summary>
    public static void Matrix(string operation, Tensor weight)
    {
        Shapes.NotNull(operation, weight);
        if (weight.Sizes().Length != 2)
            throw NoMatrix(operation, weight);
    }

    private static ArgumentException NoMatrix(string operation, Tensor weight) => new($"{Named(operation, weight)}: the weight is {weight}; a weight has two sizes", nameof(weight));

    /// <summary>Requires the shape of the result for a residual or an addend: that of x except for the last size.</summary>
    public static void Added(string operation, Tensor weight, Tensor x, int outputs, Tensor? added)
    {
        if (added is null)
            return;
        ReadOnlySpan<int> sizes = x.Sizes(), own = added.Sizes();
        bool fits = own.Length == Math.Max(1, sizes.Length) && own[^1] == outputs && own[..^1].SequenceEqual(sizes[..(own.Length - 1)]);
        if (!fits)
            throw NotAdded(operation, weight, x, outputs, added);
    }

    private static ArgumentException NotAdded(string operation, Tensor weight, Tensor x, int outputs, Tensor added) =>
        new($"{Named(operation, weight)} makes {Shapes.Text(Of(x, outputs))}, to which {added} cannot be added", nameof(added));

    /// <summary>x's shape with another last size.</summary>
    private static int[] Of(Tensor x, int outputs) => [.. x.Shape.Take(x.Shape.Count - 1), outputs];

    /// <summary>An operation with the layer that its weight belongs to: <c>Linear 'mlp.up'</c>.</summary>
    public static string Named(string operation, Tensor weight)
    {
        if (weight is not Parameter { Name: var name })
            return operation;
        return $"{operation} '{(name.EndsWith(".weight", StringComparison.Ordinal) ? name[..^".weight".Length] : name)}'";
    }
}
