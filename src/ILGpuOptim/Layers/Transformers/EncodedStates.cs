using ILGpuOptim.Compute;

namespace ILGpuOptim.Layers;

/// <summary>What an encoder made of its input, for a decoder's cross-attention.</summary>
/// <param name="Length">Tokens of each sequence.</param>
/// <param name="KeyBias">Sequences × length, added to the scores of each key: 0, or a large negative number for padding; null without padding.</param>
public sealed record EncodedStates(int Length, Block? KeyBias)
{
    /// <summary>The encoder's last states, (sequences · length) × hidden size; null where their keys and values are kept.</summary>
    public Tensor? States { get; init; }

    /// <summary>Where the keys and values of the states are kept; null outside of decoding.</summary>
    internal KeyValueCache? Kept { get; init; }

    /// <summary>The sequence of <see cref="Kept"/> that is read; -1 means all.</summary>
    internal int Sequence { get; init; } = -1;
}
