using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>The router of a mixture of experts (Shazeer et al., "Outrageously large neural networks", 2017; Jiang et al., "Mixtral of experts", 2024).</summary>
public static class RouterOp
{
    /// <summary>
    /// p = softmax(z) over all experts; each token is computed by the k experts of largest p, and the weight of expert e is p_e, or p_e divided
    /// by the sum of the chosen p. Of equal probabilities the expert of the lower number is chosen.
    /// </summary>
    /// <remarks>
    /// Experts are chosen on the host, so this call waits for the device. Gradients pass through the weights only.
    /// </remarks>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="logits">z, tokens × experts.</param>
    /// <param name="perToken">k, from 1 to the number of experts.</param>
    /// <param name="normalizes">Divides the weights of a token's experts by their sum.</param>
    /// <param name="loss">Collects the probabilities and the choices; or null.</param>
    /// <returns>The experts of each token and their weights.</returns>
    /// <exception cref="ArgumentException">The logits are no matrix.</exception>
    /// <exception cref="ArgumentOutOfRangeException">k is less than 1 or more than the number of experts.</exception>
    public static RouterChoice Route(this Tape tape, Tensor logits, int perToken, bool normalizes, RouterLoss? loss = null)
    {
        if (logits.Shape.Count != 2)
            throw new ArgumentException($"Route: router logits are tokens × experts, not {logits}", nameof(logits));
        if (perToken < 1 || perToken > logits.Columns)
            throw new ArgumentOutOfRangeException(nameof(perToken), perToken, $"Route: perToken is {perToken}; it must lie between 1 and the {logits.Columns} experts");
        RouterLoss? recomputed = loss is { IsComplete: true } ? loss : null;
        RouterChoice choice = RouterChoice.Of(tape, tape.Softmax(logits), perToken, loss);
        choice.Weights = Weights(tape, choice, normalizes, recomputed);
        return choice;
    }

    /// <summary>The chosen probabilities as a matrix of ranks × tokens, divided by its column sums where they are normalised, then in the order of slots.</summary>
    private static Tensor Weights(Tape tape, RouterChoice choice, bool normalizes, RouterLoss? recomputed)
    {
        Device device = tape.Device;
        Tensor probabilities = choice.Probabilities, output = tape.Output([choice.Slots, 1], probabilities);
        int ranks = choice.PerToken, tokens = choice.Tokens;
        Block weights = tape.Scratch(choice.Slots), totals = tape.Scratch(normalizes ? tokens : 0);
        for (int rank = 0; rank < ranks; rank++)
            device.Pick(probabilities.Data, choice.AtRank(rank), weights.Slice((long)rank * tokens, tokens), choice.Experts);
        if (normalizes)
        {
            device.Map(new TotalRule(), ranks, tokens, weights, Operand.PerColumn(totals));
            device.Map(new DivideRule(), ranks, tokens, weights, Operand.PerColumn(totals));
        }

        device.Gather(weights, choice.Places, output.Data, 1, accumulate: false);
        if (!output.RequiresGradient)
        {
            tape.Release(totals);
            tape.Release(weights);
        }

        tape.Record(new WeightsGradient(output, probabilities, choice, weights, normalizes ? totals : null, recomputed));
        return output;
    }

    /// <summary>
    /// With s = p / T, T = Σ p over the chosen: ∂/∂p = (g - Σ g s) / T; without, g. Elsewhere 0. A router that is computed again, when the gradient of
    /// its loss is known, adds the loss's gradient itself.
    /// </summary>
    private sealed class WeightsGradient(Tensor output, Tensor probabilities, RouterChoice choice, Block weights, Block? totals, RouterLoss? recomputed) : Operation(output, probabilities)
    {
        public override void Backward(Tape tape)
        {
            recomputed?.AddGradient(tape, probabilities);
            Device device = tape.Device;
            int ranks = choice.PerToken, tokens = choice.Tokens;
            Block gradients = tape.Scratch(choice.Slots);
            device.Gather(Output.Gradient!.Value, choice.SlotsOfPlaces, gradients, 1, accumulate: false);
            if (totals is { } sums)
            {
                Block means = tape.Scratch(tokens);
                device.Map(new DotRule(), ranks, tokens, gradients, weights, Operand.PerColumn(means));
                device.Map(new CenterAndDivideRule(), ranks, tokens, gradients, Operand.PerColumn(means), Operand.PerColumn(sums));
                tape.Release(means);
                tape.Release(sums);
            }

            tape.Release(weights);

            Block target = tape.GradientOf(probabilities, out float beta);
            if (beta == 0)
                device.Fill(target, 0);
            for (int rank = 0; rank < ranks; rank++)
                device.AddAt(target, choice.AtRank(rank), gradients.Slice((long)rank * tokens, tokens), choice.Experts);
            tape.Release(gradients);
        }
    }

    /// <summary>a /= b.</summary>
    private readonly struct DivideRule : IMap2
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a, ref L b) where L : struct, ILane<L> => a /= b;
    }

    /// <summary>a = (a - b) / c.</summary>
    private readonly struct CenterAndDivideRule : IMap3
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a, ref L b, ref L c) where L : struct, ILane<L> => a = (a - b) / c;
    }

    /// <summary>c = Σ a · b over the axes that c lacks.</summary>
    internal readonly struct DotRule : IMap3
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a, ref L b, ref L c) where L : struct, ILane<L> => c = a * b;
    }
}
