using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Ops.Functions;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Ops;

/// <summary>The loss of a pair of answers, of the difference h of their rewards.</summary>
public enum PreferenceLossKind
{
    /// <summary>-ln σ(h): direct preference optimization, DPO (Rafailov et al., 2023).</summary>
    Sigmoid,

    /// <summary>(h / β - 1 / (2 β))²: identity preference optimization, IPO (Azar et al., "A general theoretical paradigm to understand learning from human preferences", 2023).</summary>
    Ipo,
}

/// <summary>
/// The settings of training on pairs of answers (Rafailov et al., "Direct preference optimization: your language model is secretly a reward model", 2023). The
/// reward of an answer is β times the logarithm of its probability over that of the reference model.
/// </summary>
public sealed record DpoOptions
{
    /// <summary>β: the larger, the closer the model stays to the reference.</summary>
    [Range(0, MinimumIsExclusive = true)]
    public double Beta { get; init; } = 0.1;

    /// <summary>The loss of a pair.</summary>
    public PreferenceLossKind Loss { get; init; }

    /// <summary>
    /// The probability ε that the preference of a pair is the wrong way round: the loss is (1 - ε) · loss(h) + ε · loss(-h), conservative DPO (Mitchell, "A note on
    /// DPO with noisy preferences", 2023).
    /// </summary>
    [Range(0, 0.5, MaximumIsExclusive = true)]
    public double LabelSmoothing { get; init; }

    /// <summary>Divides the log-probability of an answer by its number of tokens.</summary>
    public bool LengthNormalized { get; init; }

    /// <summary>
    /// The weight of the mean negative log-probability per token of the chosen answers, which is added to the loss (Pang et al., "Iterative reasoning preference
    /// optimization", 2024); 0: none.
    /// </summary>
    [Range(0)]
    public double SftWeight { get; init; }
}

/// <summary>The loss of pairs of answers.</summary>
public static class PreferenceLossOp
{
    /// <summary>The loss of each pair: that of <see cref="DpoOptions.Loss"/>, with label smoothing.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="chosen">The rewards of the preferred answers: β · (their log-probability - that of the reference).</param>
    /// <param name="rejected">The rewards of the other answers; chosen's shape, or one that can be broadcast with it.</param>
    /// <param name="options">The loss, β and the label smoothing; nothing else is read.</param>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast to each other.</exception>
    public static Tensor PreferenceLoss(this Tape tape, Tensor chosen, Tensor rejected, DpoOptions options)
    {
        float beta = (float)options.Beta;
        return options.Loss switch
        {
            PreferenceLossKind.Sigmoid => tape.Apply("PreferenceLoss", new SigmoidLoss((float)options.LabelSmoothing), chosen, rejected),
            PreferenceLossKind.Ipo => tape.Apply("PreferenceLoss", new IpoLoss(1 / beta, (float)options.LabelSmoothing), chosen, rejected),
            _ => throw new ArgumentOutOfRangeException(nameof(options), options.Loss, "PreferenceLoss: there is no such loss"),
        };
    }

    /// <summary>-ln σ(h) = ln(1 + e⁻ʰ), and ln(1 + eʰ) = h + ln(1 + e⁻ʰ) for the pair the other way round.</summary>
    private readonly struct SigmoidLoss(float smoothing) : IFunction2
    {
        private readonly float smoothing = smoothing;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Apply<L>(L chosen, L rejected) where L : struct, ILane<L>
        {
            L h = chosen - rejected;
            return new Softplus().Apply(-h) + L.Splat(smoothing) * h;
        }
    }

    private readonly struct IpoLoss(float perBeta, float smoothing) : IFunction2
    {
        private readonly float perBeta = perBeta, smoothing = smoothing;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Apply<L>(L chosen, L rejected) where L : struct, ILane<L>
        {
            L ratio = (chosen - rejected) * L.Splat(perBeta), target = L.Splat(0.5f * perBeta), right = ratio - target, wrong = ratio + target;
            return L.Splat(1 - smoothing) * right * right + L.Splat(smoothing) * wrong * wrong;
        }
    }
}
