using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>A table of vectors.</summary>
public sealed class Embedding : Layer
{
    private readonly int? padding;

    /// <summary>Makes the table.</summary>
    /// <param name="initializer">Where and how.</param>
    /// <param name="name">The table's name without <c>.weight</c>.</param>
    /// <param name="rows">How many vectors.</param>
    /// <param name="columns">Numbers of a vector.</param>
    /// <param name="standardDeviation">Of its fresh numbers.</param>
    /// <param name="truncation">See <see cref="Initializer.Fill"/>.</param>
    /// <param name="padding">The row that starts at zero and that lookups pass no gradient to; null: none.</param>
    public Embedding(Initializer initializer, string name, int rows, int columns, float standardDeviation, float? truncation = null, int? padding = null)
    {
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
