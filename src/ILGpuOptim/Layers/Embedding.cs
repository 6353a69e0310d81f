using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>A table of vectors.</summary>
public sealed class Embedding : Layer
{
    private readonly int? padding;

    /// <summary>Makes the table.</summary>
    /// <param name="initializer">Allocates and fills the parameters.</param>
    /// <param name="name">The table's name without <c>.weight</c>.</param>
    /// <param name="rows">The number of vectors.</param>
    /// <param name="columns">The size of a vector.</param>
    /// <param name="standardDeviation">The standard deviation of the initial values.</param>
    /// <param name="truncation">See <see cref="Initializer.Fill"/>.</param>
    /// <param name="padding">The row that starts at zero and receives no gradient; null: none.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such padding row, or the standard deviation is negative, infinite or NaN.</exception>
    public Embedding(Initializer initializer, string name, int rows, int columns, float standardDeviation, float? truncation = null, int? padding = null)
    {
        if (padding is { } missing && (uint)missing >= (uint)rows)
            throw new ArgumentOutOfRangeException(nameof(padding), missing, $"Embedding '{name}' has {rows} rows, there is no padding row {missing}");
        this.padding = padding;
        Weight = Add(initializer, name + ".weight", ParameterRole.Other, standardDeviation, 0, truncation, rows, columns);
        if (padding is { } row)
            initializer.Device.Fill(Weight.Data.Slice((long)row * columns, columns), 0);
    }

    /// <summary>rows × columns.</summary>
    public Parameter Weight { get; }

    /// <summary>The vectors of indices (+ addend), indices × columns.</summary>
    public Tensor Forward(Tape tape, Block indices, Tensor? addend = null) => tape.Embedding(Weight, indices, addend, padding);
}
