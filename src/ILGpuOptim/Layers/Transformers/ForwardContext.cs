using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>The context of a forward pass through transformer layers: its tape, its division of rows into sequences, and its attention masks.</summary>
public sealed class ForwardContext
{
    private readonly Block[] angles;
    private readonly Tensor[] distanceBiases;

    /// <summary>Describes a pass through a stack.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="sequences">The number of sequences.</param>
    /// <param name="length">Tokens of each.</param>
    /// <param name="tables">What the stack's layers share.</param>
    internal ForwardContext(Tape tape, int sequences, int length, SharedTables tables)
    {
        (Tape, Sequences, Length) = (tape, sequences, length);
        angles = tables.Rotations == 0 ? [] : new Block[tables.Rotations];
        distanceBiases = tables.Biases == 0 ? [] : new Tensor[tables.Biases];
    }

    /// <summary>The tape that records the pass.</summary>
    public Tape Tape { get; }

    /// <summary>The number of sequences.</summary>
    public int Sequences { get; }

    /// <summary>Tokens of each sequence that are read in this pass.</summary>
    public int Length { get; }

    /// <summary>Sequences × key length, added to the scores of each key: 0, or a large negative number for padding; null without padding.</summary>
    public Block? KeyBias { get; init; }

    /// <summary>Sequences × length × 2, I32: the first key and the end of the keys that each query may see; null without documents.</summary>
    public Block? Ranges { get; init; }

    /// <summary>The encoder states that cross-attention reads; null in a model of one stack, and in an encoder.</summary>
    public EncodedStates? Encoded { get; init; }

    /// <summary>Enables activation checkpointing: the backward pass computes the activations within a block again.</summary>
    public bool Recomputes { get; init; }

    /// <summary>Collects what routers of experts do, for the loss; null where no loss asks for it.</summary>
    public RouterLoss? RouterLoss { get; init; }

    /// <summary>The cache of keys and values of earlier tokens; null outside of decoding.</summary>
    internal CacheWindow? Cache { get; init; }

    /// <summary>Keys that the last token of a sequence can see.</summary>
    internal int KeyLength => Cache?.KeyLength ?? Length;

    /// <summary>The cosines and sines of each row's position, (sequences · length) × size, for a kind of rotary positions.</summary>
    internal Block Angles(int rotation) => angles[rotation];

    /// <summary>Sets the angles that <see cref="Angles"/> returns.</summary>
    internal void SetAngles(int rotation, in Block rows) => angles[rotation] = rows;

    /// <summary>The relative position biases that are added to the scores, distances × heads.</summary>
    internal Tensor DistanceBias(int number) => distanceBiases[number];

    /// <summary>Sets what <see cref="DistanceBias"/> gives.</summary>
    internal void SetDistanceBias(int number, Tensor bias) => distanceBiases[number] = bias;
}
