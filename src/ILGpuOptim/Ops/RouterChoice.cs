using System.Buffers;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>
/// The experts of each token and their weights, as <see cref="RouterOp.Route"/> returns them. A slot is one token at one expert; slots are sorted by expert, those of one
/// expert by token.
/// </summary>
public sealed class RouterChoice
{
    private readonly int[] starts;
    private readonly Block indices;

    private RouterChoice(int tokens, int perToken, int[] starts, Block indices) =>
        (Tokens, PerToken, this.starts, this.indices) = (tokens, perToken, starts, indices);

    /// <summary>Tokens, n.</summary>
    public int Tokens { get; }

    /// <summary>Experts that compute each token, k.</summary>
    public int PerToken { get; }

    /// <summary>Experts, E.</summary>
    public int Experts => starts.Length - 1;

    /// <summary>Slots, n · k.</summary>
    public int Slots => Tokens * PerToken;

    /// <summary>The probability of each token and expert, n × E.</summary>
    public required Tensor Probabilities { get; init; }

    /// <summary>The factor of each slot's result, n · k × 1.</summary>
    public Tensor Weights { get; internal set; } = null!;

    /// <summary>The number of tokens that an expert computes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such expert.</exception>
    public int CountOf(int expert) => starts[Checked(expert) + 1] - starts[expert];

    /// <summary>The first slot of an expert.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such expert.</exception>
    public int StartOf(int expert) => starts[Checked(expert)];

    /// <summary>The tokens of an expert, ascending row indices on the device.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such expert.</exception>
    public Block TokensOf(int expert) => TokensOfSlots.Slice(StartOf(expert), CountOf(expert));

    /// <summary>The token of each slot, on the device.</summary>
    internal Block TokensOfSlots => indices.Slice(Slots, Slots);

    /// <summary>The expert that each token chose at a rank, 0 for the most probable; n indices on the device.</summary>
    internal Block AtRank(int rank) => indices.Slice((long)rank * Tokens, Tokens);

    /// <summary>The place rank · n + token of each slot.</summary>
    internal Block Places => indices.Slice(2L * Slots, Slots);

    /// <summary>The slot of each place rank · n + token.</summary>
    internal Block SlotsOfPlaces => indices.Slice(3L * Slots, Slots);

    /// <summary>The slot of each token at a rank, on the device.</summary>
    internal Block SlotsAtRank(int rank) => SlotsOfPlaces.Slice((long)rank * Tokens, Tokens);

    private int Checked(int expert) => (uint)expert < (uint)Experts
        ? expert
        : throw new ArgumentOutOfRangeException(nameof(expert), expert, $"RouterChoice: there is no expert {expert} of {Experts}");

    /// <summary>Chooses on the host: waits for the probabilities, and copies the choice to the device in one piece.</summary>
    internal static RouterChoice Of(Tape tape, Tensor probabilities, int perToken, RouterLoss? loss)
    {
        int tokens = probabilities.Shape[0], experts = probabilities.Shape[1], slots = checked(tokens * perToken);
        float[] values = ArrayPool<float>.Shared.Rent(tokens * experts);
        int[] all = ArrayPool<int>.Shared.Rent(checked(4 * slots));
        Span<float> p = values.AsSpan(0, tokens * experts);
        Span<int> chosen = all.AsSpan(0, slots), tokensOf = all.AsSpan(slots, slots), places = all.AsSpan(2 * slots, slots), slotsOf = all.AsSpan(3 * slots, slots);
        tape.Device.Download(probabilities.Data, p);
        for (int token = 0; token < tokens; token++)
            Largest(p.Slice(token * experts, experts), chosen[token..], tokens, perToken);
        loss?.Add(probabilities, chosen);

        var starts = new int[experts + 1];
        foreach (int expert in chosen)
            starts[expert + 1]++;
        for (int expert = 0; expert < experts; expert++)
            starts[expert + 1] += starts[expert];
        int[] next = [.. starts];
        for (int token = 0; token < tokens; token++)
        {
            for (int rank = 0; rank < perToken; rank++)
            {
                int place = rank * tokens + token, slot = next[chosen[place]]++;
                tokensOf[slot] = token;
                places[slot] = place;
                slotsOf[place] = slot;
            }
        }

        Block indices = tape.Indices(all.AsSpan(0, 4 * slots));
        ArrayPool<float>.Shared.Return(values);
        ArrayPool<int>.Shared.Return(all);
        return new RouterChoice(tokens, perToken, starts, indices) { Probabilities = probabilities };
    }

    /// <summary>
    /// The indices of the largest values, largest first; of equal values the lower index comes first. A value that is not a number never
    /// displaces another, nor is it displaced.
    /// </summary>
    /// <param name="values">At least <paramref name="count"/>.</param>
    /// <param name="target">Receives the index of rank r at r · <paramref name="stride"/>.</param>
    /// <param name="stride">From one rank to the next.</param>
    /// <param name="count">The number of indices.</param>
    private static void Largest(ReadOnlySpan<float> values, Span<int> target, int stride, int count)
    {
        for (int i = 0; i < values.Length; i++)
        {
            int rank = Math.Min(i, count);
            if (rank == count && !(values[i] > values[target[(count - 1) * stride]]))
                continue;
            rank = Math.Min(rank, count - 1);
            for (; rank > 0 && values[i] > values[target[(rank - 1) * stride]]; rank--)
                target[rank * stride] = target[(rank - 1) * stride];
            target[rank * stride] = i;
        }
    }
}
