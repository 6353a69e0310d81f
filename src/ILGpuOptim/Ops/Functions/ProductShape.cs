namespace ILGpuOptim.Ops;

/// <summary>The shapes of products with weights, checked in the words of who made them.</summary>
internal static class ProductShape
{
    /// <summary>The columns of x W.</summary>
    /// <exception cref="ArgumentException">The weight does not take x, or the bias is not one number for each output.</exception>
    public static int Outputs(string operation, Tensor x, Tensor weight, Tensor? bias, bool transposed)
    {
        if (weight.Shape.Count != 2)
            throw new ArgumentException($"{operation}: {NameOf(weight)} is {weight}; a weight has two sizes", nameof(weight));
        int inputs = transposed ? weight.Shape[1] : weight.Shape[0], outputs = transposed ? weight.Shape[0] : weight.Shape[1];
        if (x.Columns != inputs)
            throw new ArgumentException($"{operation}: {NameOf(weight)} takes {inputs} columns, x is {x}", nameof(x));
        if (bias is not null && bias.Length != outputs)
            throw new ArgumentException($"{operation}: {NameOf(weight)} makes {outputs} columns, the bias is {bias}", nameof(bias));
        return outputs;
    }

    /// <summary>x's shape with another last size.</summary>
    public static int[] Of(Tensor x, int outputs) => [.. x.Shape.Take(x.Shape.Count - 1), outputs];

    private static string NameOf(Tensor weight) => weight is Parameter parameter ? $"'{parameter.Name}'" : "the weight";
}
