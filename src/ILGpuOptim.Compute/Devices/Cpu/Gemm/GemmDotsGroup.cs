using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>
/// A few similar products as one loop: queries, keys and values of a token, or the two halves of SwiGLU. Waking the workers and
/// waiting for the last one takes as long as reading 40 KB of weights.
/// </summary>
internal unsafe struct GemmDotsGroup<L> : IWork where L : struct, IVectorLane<L>
{
    /// <summary>The most products of a group.</summary>
    public const int MaxCount = 3;

    private Products products;
    private int count;

    /// <summary>The number of items of all products.</summary>
    public int Items { get; private set; }

    /// <summary>Floats that a worker needs.</summary>
    public long ScratchFloats { get; private set; }

    /// <summary>Room for them, of each worker.</summary>
    public float* Scratch
    {
        set
        {
            for (int i = 0; i < count; i++)
                products[i].Scratch = value;
        }
    }

    /// <summary>The next product, all zero, to be filled in; <see cref="Complete"/> adds it.</summary>
    [UnscopedRef]
    public ref GemmDots<L, NoEpilogue> Next() => ref products[count];

    /// <summary>Adds the product that <see cref="Next"/> gave.</summary>
    public void Complete()
    {
        ref GemmDots<L, NoEpilogue> product = ref products[count++];
        product.Divide();
        Items += product.Items;
        ScratchFloats = Math.Max(ScratchFloats, product.ScratchFloats);
    }

    public void Invoke(int index, int worker)
    {
        int product = 0;
        for (; index >= products[product].Items; product++)
            index -= products[product].Items;
        products[product].Invoke(index, worker);
    }

    /// <summary>Leaves the product as it is.</summary>
    public readonly struct NoEpilogue : IGemmEpilogue
    {
        public void Invoke(float* c, int stride, int row, int rows, int column, int columns, int worker)
        {
        }
    }

    [InlineArray(MaxCount)]
    private struct Products
    {
        private GemmDots<L, NoEpilogue> first;
    }
}
