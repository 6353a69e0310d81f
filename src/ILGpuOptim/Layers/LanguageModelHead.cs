using ILGpuOptim.Ops;
using ILGpuOptim.Ops.Functions;

namespace ILGpuOptim.Layers;

/// <summary>Computes logits, and their loss, from hidden states.</summary>
public sealed class LanguageModelHead : Layer
{
    private readonly HeadDescription description;
    private readonly Linear? dense;
    private readonly Norm? norm;
    private readonly Activation? activation;

    /// <summary>Makes the parameters that are the head's own.</summary>
    /// <param name="initializer">Allocates and fills the parameters.</param>
    /// <param name="description">Transform, projection, bias, scale and soft cap.</param>
    /// <param name="hiddenSize">Columns of the states.</param>
    /// <param name="tokens">The token table, which a tied head reads: vocabulary × hidden size.</param>
    /// <exception cref="ArgumentOutOfRangeException">The scale is infinite or NaN, or the soft cap is not above 0.</exception>
    public LanguageModelHead(Initializer initializer, HeadDescription description, int hiddenSize, Parameter tokens)
    {
        this.description = description;
        Scalars.Finite(nameof(LanguageModelHead), description.Scale, tokens, nameof(description.Scale));
        Scalars.Positive(nameof(LanguageModelHead), description.SoftCap ?? 1, tokens, nameof(description.SoftCap));
        int vocabulary = tokens.Shape[0];
        if (description.Transform is { } transform)
        {
            dense = Add(new Linear(initializer, transform.Dense, hiddenSize, hiddenSize));
            norm = Add(new Norm(initializer, transform.Norm, hiddenSize));
            activation = ActivationNames.Find(transform.Activation) ?? throw new ArgumentException($"there is no activation \"{transform.Activation}\"", nameof(description));
        }

        Weight = description.Projection is { } projection ? Add(new Linear(initializer, projection, hiddenSize, vocabulary, ParameterRole.Other)).Weight : tokens;
        Bias = description.Bias is { } name ? Add(initializer, name, 0, 0, vocabulary) : null;
    }

    /// <summary>vocabulary × hidden size.</summary>
    public Parameter Weight { get; }

    /// <summary>Added to the logits; or null.</summary>
    public Parameter? Bias { get; }

    /// <summary>The factor of <see cref="Weight"/> in the logits: scale · the states, through the transform where there is one.</summary>
    public Tensor Transform(Tape tape, Tensor states)
    {
        Tensor x = dense is null ? states : norm!.Forward(tape, dense.Forward(tape, states, activation!));
        return description.Scale == 1 ? x : tape.Affine(x, description.Scale);
    }

    /// <summary>Logits of states, rows × vocabulary.</summary>
    public Tensor Logits(Tape tape, Tensor states)
    {
        Tensor logits = tape.Linear(Transform(tape, states), Weight, Bias, transposed: true);
        return description.SoftCap is { } cap ? tape.Apply(new SoftCap(cap), logits) : logits;
    }

    /// <summary>The mean cross-entropy of targets (negative ones are ignored), times a scale.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="states">rows × hidden size.</param>
    /// <param name="targets">A token for each row.</param>
    /// <param name="scale">Multiplies the mean.</param>
    /// <returns>A scalar.</returns>
    public Tensor Loss(Tape tape, Tensor states, ReadOnlySpan<int> targets, float scale)
    {
        float cap = description.SoftCap ?? 0;
        if (dense is null)
            return tape.CrossEntropy(Transform(tape, states), Weight, Bias, targets, scale, cap);

        // The transform is as costly as some layers, and most positions of a masked model predict nothing.
        (int[] rows, int[] counted) = Counted(targets);
        return tape.CrossEntropy(Transform(tape, tape.Embedding(states, tape.Indices(rows))), Weight, Bias, counted, scale, cap);
    }

    /// <summary>The negative log-probability of each target; 0 where the target is negative.</summary>
    internal Tensor TokenLosses(Tape tape, Tensor states, ReadOnlySpan<int> targets) =>
        tape.TokenLosses(Transform(tape, states), Weight, Bias, targets, description.SoftCap ?? 0);

    /// <summary>The rows with a target, and those targets.</summary>
    internal static (int[] Rows, int[] Targets) Counted(ReadOnlySpan<int> targets)
    {
        int count = 0, next = 0;
        foreach (int target in targets)
            count += target >= 0 ? 1 : 0;
        int[] rows = new int[count], counted = new int[count];
        for (int i = 0; i < targets.Length; i++)
        {
            if (targets[i] >= 0)
                (rows[next], counted[next++]) = (i, targets[i]);
        }

        return (rows, counted);
    }
}
