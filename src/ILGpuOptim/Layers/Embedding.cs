using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>A table of vectors.</summary>
public sealed class Embedding : Layer
{
    /// <summary>Makes the table.</summary>
    /// <param name="initializer">Where and how.</param>
    /// <param name="name">The table's name without <c>.weight</c>.</param>
    /// <param name="rows">How many vectors.</param>
    /// <param name="columns">Numbers of a vector.</param>
    /// <param name="standardDeviation">Of its fresh numbers.</param>
    public Embedding(Initializer initializer, string name, int rows, int columns, float standardDeviation) =>
        Weight = Add(initializer, name + ".weight", standardDeviation, 0, rows, columns);

    /// <summary>rows × columns.</summary>
    public Parameter Weight { get; }

    /// <summary>The vectors of indices (+ addend), indices × columns.</summary>
    public Tensor Forward(Tape tape, Block indices, Tensor? addend = null) => tape.Embedding(Weight, indices, addend);
}
