using ILGpuOptim.Compute;

namespace ILGpuOptim.Layers;

/// <summary>The encoder's output that a decoder's cross-attention reads. <c>Transformer</c> makes it for <see cref="ForwardContext.Encoded"/>; programs do not construct it.</summary>
/// <param name="Length">Tokens of each sequence.</param>
/// <param name="KeyBias">Sequences × length, added to the scores of each key: 0, or a large negative number for padding; null without padding.</param>
public sealed record EncodedStates(int Length, Block? KeyBias)
{
    /// <summary>The encoder's last states, (sequences · length) × hidden size; null if their keys and values are cached.</summary>
    public Tensor? States { get; init; }

    /// <summary>The cache of the states' keys and values; null outside of decoding.</summary>
    internal KeyValueCache? Kept { get; init; }

    /// <summary>The sequence of <see cref="Kept"/> that is read; -1 means all.</summary>
    internal int Sequence { get; init; } = -1;
}
