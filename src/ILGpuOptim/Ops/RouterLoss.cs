using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>
/// The load-balancing loss of the routers of one forward pass (Shazeer et al., 2017; Fedus, Zoph and Shazeer, 2022). Over all N = tokens × routers
/// rows together, padding left out: P_e is the mean probability of expert e, F_e the share of rows that chose it, and the loss is E · Σ_e F_e P_e.
/// It is one product of means over all layers, and equals the number of experts per token where the load is balanced.
/// </summary>
/// <remarks>
/// F is a count and passes no gradient: ∂/∂p_{n,e} is (E / N) F_e for every token n that counts. A router that is computed again during the
/// backward pass, because activations are recomputed, is not counted again.
/// </remarks>
public sealed class RouterLoss
{
    private readonly Tape tape;
    private readonly int routers, experts;
    private readonly int[] mask;
    private readonly Block weights, sums;
    private readonly long[] counts;
    private readonly List<Tensor> recorded = [];
    private Block? gradients;
    private int added;

    /// <summary>Begins a forward pass. Its memory belongs to the tape until it is reset.</summary>
    /// <param name="tape">The tape that records the pass.</param>
    /// <param name="routers">Layers with experts.</param>
    /// <param name="experts">Experts of each of them, E.</param>
    /// <param name="tokens">Tokens of the pass, padding included.</param>
    /// <param name="mask">0 for padding, anything else for tokens that count; empty: all count.</param>
    /// <exception cref="ArgumentException">The mask has another number of tokens.</exception>
    /// <exception cref="ArgumentOutOfRangeException">There is no router or no expert, or the number of tokens is negative.</exception>
    public RouterLoss(Tape tape, int routers, int experts, int tokens, ReadOnlySpan<int> mask = default)
    {
        Scalars.AtLeast(nameof(RouterLoss), 1, routers);
        Scalars.AtLeast(nameof(RouterLoss), 1, experts);
        Scalars.AtLeast(nameof(RouterLoss), 0, tokens);
        if (!mask.IsEmpty && mask.Length != tokens)
            throw new ArgumentException($"RouterLoss: a mask of {mask.Length} for {tokens} tokens", nameof(mask));
        (this.tape, this.routers, this.experts) = (tape, routers, experts);
        this.mask = new int[tokens];
        var counted = new float[tokens];
        for (int i = 0; i < tokens; i++)
            counted[i] = this.mask[i] = mask.IsEmpty || mask[i] != 0 ? 1 : 0;
        counts = new long[experts];
        weights = tape.Values(counted);
        sums = tape.Scratch((long)routers * experts);
    }

    /// <summary>True once <see cref="Total"/> was taken: routers that follow are recomputed ones.</summary>
    internal bool IsComplete { get; private set; }

    /// <summary>Counts a router's choice and sums its probabilities.</summary>
    /// <param name="probabilities">Tokens × experts.</param>
    /// <param name="chosen">Experts, rank by rank, of each token.</param>
    internal void Add(Tensor probabilities, ReadOnlySpan<int> chosen)
    {
        if (probabilities.Shape[0] != mask.Length || probabilities.Shape[1] != experts)
            throw new ArgumentException($"RouterLoss: a loss of {mask.Length} tokens and {experts} experts was given probabilities of {probabilities}", nameof(probabilities));
        if (IsComplete)
            return;
        if (added == routers)
            throw new InvalidOperationException($"RouterLoss: a loss of {routers} routers was given more");
        for (int first = 0; first < chosen.Length; first += mask.Length)
        {
            for (int token = 0; token < mask.Length; token++)
                counts[chosen[first + token]] += mask[token];
        }

        Block sum = sums.Slice((long)added * experts, experts);
        tape.Device.Map(new RouterOp.DotRule(), mask.Length, experts, probabilities.Data, Operand.PerRow(weights), Operand.PerColumn(sum));
        added++;
        if (tape.IsRecording && probabilities.RequiresGradient)
            recorded.Add(probabilities);
    }

    /// <summary>The loss, once every router has been computed. The caller multiplies it by a coefficient.</summary>
    /// <returns>A scalar; 0 when no token counts.</returns>
    /// <exception cref="InvalidOperationException">A router is missing, or the loss was taken before.</exception>
    public Tensor Total()
    {
        if (IsComplete || added != routers)
            throw new InvalidOperationException(IsComplete ? "RouterLoss: the loss is taken once" : $"RouterLoss: {added} of {routers} routers were computed before their loss was taken");
        IsComplete = true;
        double rows = (double)routers * mask.Sum();
        var shares = new float[experts];
        for (int expert = 0; expert < experts && rows > 0; expert++)
            shares[expert] = (float)(experts / rows * (counts[expert] / rows));
        Block factors = tape.Values(shares);
        Tensor output = tape.Output([], [.. recorded]);
        output.IsKept = true;

        // Routers of layers that are to be recomputed were not recorded, but will be when the loss's gradient is known.
        output.RequiresGradient |= tape.IsRecording && recorded.Count < routers;
        tape.Device.Map(new RouterOp.DotRule(), routers, experts, sums, Operand.PerColumn(factors), Operand.Scalar(output.Data));
        tape.Release(sums);
        tape.Record(new Gradient(this, output, factors));
        return output;
    }

    /// <summary>Adds this loss's gradient of a router's probabilities, if the backward pass went through <see cref="Total"/>.</summary>
    internal void AddGradient(Tape tape, Tensor probabilities)
    {
        if (gradients is { } ofExperts)
            tape.Device.Map(new ProductRule(), mask.Length, experts, Operand.PerRow(weights), Operand.PerColumn(ofExperts), tape.GradientTarget(probabilities));
    }

    private sealed class Gradient(RouterLoss loss, Tensor output, Block factors) : Operation(output, [.. loss.recorded])
    {
        public override void Backward(Tape tape)
        {
            Block gradients = tape.Scratch(factors.Length);
            tape.Device.Map(new ProductRule(), 1, factors.Length, factors, Operand.Scalar(Output.Gradient!.Value), gradients);
            tape.Release(factors);
            loss.gradients = gradients;
            foreach (Tensor probabilities in loss.recorded)
                loss.AddGradient(tape, probabilities);
        }
    }
}
