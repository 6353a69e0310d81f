using ILGpuOptim.Ops;

namespace ILGpuOptim.Models;

/// <summary>Checks of values in configurations; messages name the file, the field and the value.</summary>
internal static class ConfigChecks
{
    /// <summary>The most layers; more would fill memory with objects alone.</summary>
    public const int MaxLayers = 10_000;

    /// <summary>The largest hidden or intermediate size; sums of several stay within 32 bits.</summary>
    public const int MaxWidth = 1 << 24;

    /// <summary>The most token ids or positions.</summary>
    public const int MaxRows = 1 << 28;

    /// <summary>The largest head size; each head has a table of angles.</summary>
    public const int MaxHeadSize = 1 << 16;

    /// <summary>Largest distance of relative positions; a table has an entry for each.</summary>
    public const int MaxDistance = 1 << 20;

    /// <summary>Activations that the families beside GPT-2 and BERT have, under the names of <c>config.json</c>.</summary>
    private static readonly string[] Activations = ["silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu"];

    /// <summary>Checks that a size is positive and not larger than any model's.</summary>
    public static void Size(string source, string field, int value, int most)
    {
        if (value < 1 || value > most)
            throw new UserException($"{source}: {field} = {value}; it must lie between 1 and {most}");
    }

    /// <summary>Checks the ε of a norm.</summary>
    public static void Epsilon(string source, string field, float value)
    {
        if (!(value >= MathF.ScaleB(1, -126) && value <= 1))
            throw new UserException($"{source}: {field} = {value}; it must be a normal 32-bit number above 0 and at most 1");
    }

    /// <summary>Checks a standard deviation.</summary>
    public static void StandardDeviation(string source, string field, float value)
    {
        if (!(value >= 0 && value <= 1000))
            throw new UserException($"{source}: {field} = {value}; it must lie between 0 and 1000");
    }

    /// <summary>Checks that an optional value is positive and finite.</summary>
    public static void Positive(string source, string field, double? value)
    {
        if (value is { } number && !(number > 0 && double.IsFinite(number)))
            throw new UserException($"{source}: {field} = {value}; it must be positive");
    }

    /// <summary>Checks a dropout probability.</summary>
    public static void Dropout(string source, string field, float value)
    {
        if (!(value >= 0 && value < 1))
            throw new UserException($"{source}: {field} = {value}; a dropout lies in [0, 1)");
    }

    /// <summary>Checks that an activation is one of the families beside GPT-2 and BERT, or was added.</summary>
    public static void Activation(string source, string field, string value)
    {
        if (!Activations.Contains(value) && !ActivationNames.IsAdded(value))
            throw new UserException($"{source}: {field} = \"{value}\" is not supported; there are {string.Join(", ", Activations)}");
    }

    /// <summary>Checks that the heads divide a size; the message names head counts that do.</summary>
    public static void Divides(string source, string headsField, int heads, string widthField, int width)
    {
        if (width % heads == 0)
            return;
        int below = heads, above = heads;
        while (width % below != 0)
            below--;
        while (above < width && width % above != 0)
            above++;
        throw new UserException($"{source}: {headsField} = {heads} does not divide {widthField} = {width}; use {below} or {above}");
    }

    /// <summary>Checks a mixture of experts.</summary>
    public static void Experts(string source, string field, int count, int perToken, float lossCoefficient)
    {
        Size(source, field, count, MaxLayers);
        if (perToken < 1 || perToken > count)
            throw new UserException($"{source}: num_experts_per_tok = {perToken}; it must lie between 1 and {field} = {count}");
        if (!(lossCoefficient >= 0 && float.IsFinite(lossCoefficient)))
            throw new UserException($"{source}: router_aux_loss_coef = {lossCoefficient}; it must not be negative");
    }

    /// <summary>Checks a list with one item per layer: its length and its items.</summary>
    public static void PerLayer<T>(string source, string field, IReadOnlyList<T>? values, int layers, params T[] known)
    {
        if (values is null)
            return;
        if (values.Count != layers)
            throw new UserException($"{source}: {field} has {values.Count} items for {layers} layers; it must have one for each");
        foreach (T value in values)
        {
            if (!known.Contains(value))
                throw new UserException($"{source}: {field} has {(value is string ? $"\"{value}\"" : value)}, which is not supported; there are {string.Join(", ", known)}");
        }
    }
}
