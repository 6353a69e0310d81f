using ILGpuOptim.Compute;
using ILGpuOptim.Generation;

namespace ILGpuOptim.Models;

/// <summary>What the layers of a transformer need to know about a pass: where it is recorded, how its rows form sequences, and who sees whom.</summary>
public sealed class ForwardContext
{
    private readonly Block[] angles;

    /// <summary>Describes a pass.</summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="sequences">How many sequences.</param>
    /// <param name="length">Tokens of each.</param>
    /// <param name="rotations">How many kinds of rotary positions the model has.</param>
    internal ForwardContext(Tape tape, int sequences, int length, int rotations)
    {
        (Tape, Sequences, Length) = (tape, sequences, length);
        angles = rotations == 0 ? [] : new Block[rotations];
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

    /// <summary>Where keys and values of a decoder's earlier tokens are kept; null outside of decoding.</summary>
    internal CacheWindow? Cache { get; init; }

    /// <summary>The cosines and sines of each row's position, (sequences · length) × size, for a kind of rotary positions.</summary>
    internal Block Angles(int rotation) => angles[rotation];

    /// <summary>Sets what <see cref="Angles"/> gives.</summary>
    internal void SetAngles(int rotation, in Block rows) => angles[rotation] = rows;
}
