using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>The place of a parameter in its model, which decides how <see cref="Scale"/> updates it.</summary>
public enum ScaleRole
{
    /// <summary>A matrix between embedding and output: one scale for each output neuron.</summary>
    Hidden,

    /// <summary>An embedding: one scale for each of its features.</summary>
    Embedding,

    /// <summary>The output matrix: a momentum, and one scale for each token.</summary>
    LastLayer,

    /// <summary>A vector, trained by AdamW.</summary>
    Vector,
}

/// <summary>Settings of <see cref="Scale"/>.</summary>
public sealed record ScaleOptions : AdamOptions
{
    /// <summary>The learning rate is that of the reference.</summary>
    public ScaleOptions() => LearningRate = 1e-4;

    /// <summary>The place of the parameter in its model.</summary>
    [DerivedOption]
    public ScaleRole Role { get; init; }

    /// <summary>True for weights stored in × out, as in GPT-2's files: output neurons are columns.</summary>
    [DerivedOption]
    public bool IsTransposed { get; init; }

    /// <summary>Decay of the last layer's momentum, a running mean.</summary>
    [Description("decay rate of the momentum of the last layer, a running mean")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Momentum { get; init; } = 0.9;

    /// <summary>Learning rate of vectors, relative to that of matrices.</summary>
    [Description("factor of the learning rate of vectors")]
    [Range(0)]
    public double VectorRate { get; init; } = 1;

    /// <summary>True if the embedding is the output matrix too; null: it is not.</summary>
    [Description("treats the token embedding as the last layer; training takes it from the model")]
    public bool? TiedEmbedding { get; init; }
}

/// <summary>
/// SCALE, stochastic column-normalized last-layer momentum (Glentis et al., "Minimalist optimizer design for LLM pretraining", 2025): every matrix moves by its
/// gradient, divided by the root mean square of each output neuron (of each feature of an embedding), but at least 10⁻⁸; the last layer by its momentum
/// m ← μm + (1-μ)g, normalized alike. p = p (1 - lr · decay) - lr · u. Vectors are trained by AdamW with ε on the uncorrected root.
/// </summary>
/// <remarks>State: none for hidden matrices and embeddings, 4mn bytes for the last layer. Two passes: sums of squares; update. Roles are options, not state.</remarks>
public sealed class Scale : Optimizer<ScaleOptions>
{
    private static readonly string[] Outputs = ["lm_head.weight", "embed_out.weight", "decoder.weight"];

    private static readonly string[] Tokens = ["wte.weight", "embed_tokens.weight", "embed_in.weight", "tok_embeddings.weight", "word_embeddings.weight", "shared.weight"];

    private static readonly string[] OtherEmbeddings = ["wpe.weight", "position_embeddings.weight", "token_type_embeddings.weight", "relative_attention_bias.weight"];

    private static readonly string[] Transposed = ["c_attn.weight", "c_proj.weight", "c_fc.weight"];

    /// <inheritdoc/>
    public override string Name => "scale";

    /// <summary>The role of a transformer's parameter, by its name in Hugging Face's files.</summary>
    /// <param name="options">The settings without a role.</param>
    /// <param name="name">The parameter.</param>
    /// <param name="shape">Its sizes.</param>
    public static ScaleOptions ForParameter(ScaleOptions options, string name, IReadOnlyList<int> shape)
    {
        bool Ends(string[] ends) => ends.Any(end => name.EndsWith(end, StringComparison.Ordinal));
        ScaleRole role = shape.Count < 2 ? ScaleRole.Vector
            : Ends(Outputs) || (options.TiedEmbedding == true && Ends(Tokens)) ? ScaleRole.LastLayer
            : Ends(Tokens) || Ends(OtherEmbeddings) ? ScaleRole.Embedding : ScaleRole.Hidden;
        return options with { Role = role, IsTransposed = Ends(Transposed) };
    }

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, ScaleOptions options) => options.Role switch
    {
        ScaleRole.Vector => [StateTensor.Signed("exp_avg", shape), StateTensor.NonNegative("exp_avg_sq", shape)],
        _ when shape.Count < 2 => throw new UserException("a vector has no rows to normalize; give it the role of a vector"),
        ScaleRole.LastLayer => [StateTensor.Signed("exp_avg", shape)],
        _ => [],
    };

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, ScaleOptions o)
    {
        if (o.Role == ScaleRole.Vector)
        {
            var scaled = new ParameterUpdate(update.State, update.Gradient, update.LearningRate * o.VectorRate);
            scaled.Move(AdamDirection.CorrectedWithEpsilon(o, update.Step), Decay.Before(o.WeightDecay), update["exp_avg"], update["exp_avg_sq"]);
            return;
        }

        Device device = update.Device;
        var (batch, rows, columns) = Matrices(update.Shape);
        rows *= batch;
        bool byColumn = o.Role == ScaleRole.Embedding || o.IsTransposed;
        Block squares = device.Pool.Rent(byColumn ? columns : rows);
        var scale = new Operand(squares, byColumn ? Layout.PerColumn : Layout.PerRow);
        Operand direction = update.Gradient;
        if (o.Role == ScaleRole.LastLayer)
        {
            direction = update.StateValues("exp_avg");
            device.Map(new MomentumRule((float)o.Momentum, (float)(1 - o.Momentum)), rows, columns, update.Gradient, direction, scale);
        }
        else
        {
            device.Map(new SquaresRule(), rows, columns, direction, scale);
        }

        var motion = new Motion(update, Decay.Before(o.WeightDecay));
        motion.Map(new Direction(1f / (byColumn ? rows : columns)), 0, rows, columns, direction, scale);
        motion.End();
        device.Pool.Return(squares);
    }

    /// <summary>m = μm + (1-μ)g; Σm².</summary>
    private readonly struct MomentumRule(float momentum, float rest) : IMap3
    {
        private readonly float momentum = momentum, rest = rest;

        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L m, ref L squares) where L : struct, ILane<L>
        {
            m = L.Fma(L.Splat(momentum), m, L.Splat(rest) * g);
            squares = m * m;
        }
    }

    /// <summary>u = a / max(√(Σa² / n), 10⁻⁸).</summary>
    private readonly struct Direction(float perElement) : IMap3
    {
        private const float Floor = 1e-8f;
        private readonly float perElement = perElement;

        public static Access Access => Access.Of(Slot.Write, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L a, ref L squares) where L : struct, ILane<L> => u = a / L.Max(L.Splat(Floor), L.Sqrt(squares * L.Splat(perElement)));
    }
}
