using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>What the layers of a transformer need to know about a pass: where it is recorded, how its rows form sequences, and who sees whom.</summary>
public sealed class ForwardContext
{
    private readonly Block[] angles;
    private readonly Tensor[] distanceBiases;

    /// <summary>Describes a pass through a stack.</summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="sequences">How many sequences.</param>
    /// <param name="length">Tokens of each.</param>
    /// <param name="tables">What the stack's layers share.</param>
    internal ForwardContext(Tape tape, int sequences, int length, SharedTables tables)
    {
        (Tape, Sequences, Length) = (tape, sequences, length);
        angles = tables.Rotations == 0 ? [] : new Block[tables.Rotations];
        distanceBiases = tables.Biases == 0 ? [] : new Tensor[tables.Biases];
    }

    /// <summary>Where the pass is recorded.</summary>
    public Tape Tape { get; }

    /// <summary>How many sequences.</summary>
    public int Sequences { get; }

    /// <summary>Tokens of each sequence that are read in this pass.</summary>
    public int Length { get; }

    /// <summary>Sequences × key length, added to the scores of each key: 0, or a large negative number for padding; null without padding.</summary>
    public Block? KeyBias { get; init; }

    /// <summary>Sequences × length × 2, I32: the first key and the end of the keys that each query may see; null without documents.</summary>
    public Block? Ranges { get; init; }

    /// <summary>What cross-attention reads; null in a model of one stack, and in an encoder.</summary>
    public EncodedStates? Encoded { get; init; }

    /// <summary>Whether activations within a block are computed again in the backward pass instead of being kept.</summary>
    public bool Recomputes { get; init; }

    /// <summary>Collects what routers of experts do, for the loss; null where no loss asks for it.</summary>
    public RouterLoss? RouterLoss { get; init; }

    /// <summary>Where keys and values of a decoder's earlier tokens are kept; null outside of decoding.</summary>
    internal CacheWindow? Cache { get; init; }

    /// <summary>Keys that the last token of a sequence can see.</summary>
    internal int KeyLength => Cache?.KeyLength ?? Length;

    /// <summary>The cosines and sines of each row's position, (sequences · length) × size, for a kind of rotary positions.</summary>
    internal Block Angles(int rotation) => angles[rotation];

    /// <summary>Sets what <see cref="Angles"/> gives.</summary>
    internal void SetAngles(int rotation, in Block rows) => angles[rotation] = rows;

    /// <summary>What a table of relative position biases adds to the scores, distances × heads.</summary>
    internal Tensor DistanceBias(int number) => distanceBiases[number];

    /// <summary>Sets what <see cref="DistanceBias"/> gives.</summary>
    internal void SetDistanceBias(int number, Tensor bias) => distanceBiases[number] = bias;
}
