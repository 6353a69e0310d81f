using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Ops;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Granularity of the second moments of <see cref="AdamMini"/>.</summary>
public enum MiniBlocks
{
    /// <summary>The whole tensor: norms and biases.</summary>
    Tensor,

    /// <summary>A row: an output neuron of weights stored out × in, or a token of an embedding.</summary>
    Rows,

    /// <summary>A column: an output neuron of weights stored in × out, as in GPT-2's files.</summary>
    Columns,
}

/// <summary>Settings of <see cref="AdamMini"/>.</summary>
public sealed record AdamMiniOptions : AdamOptions
{
    /// <summary>Granularity of the second moments.</summary>
    [DerivedOption]
    public MiniBlocks Blocks { get; init; } = MiniBlocks.Rows;

    /// <summary>Number of leading rows (or columns) that belong to queries and keys, whose blocks are heads.</summary>
    [DerivedOption]
    [Range(0)]
    public int HeadLines { get; init; }

    /// <summary>
    /// Elements of a block, of which each is a run of the parameter's elements in their order: 1 gives every element its own second moment, as in
    /// Adam. 0: <see cref="Blocks"/> and <see cref="HeadLines"/> apply.
    /// </summary>
    [DerivedOption]
    [Range(0)]
    public int BlockLength { get; init; }

    /// <summary>Rows (or columns) of a head; 1 makes each neuron a block. Training takes it from the model.</summary>
    [Description("elements per attention head, which share a second moment; training takes it from the model")]
    [Range(1)]
    public int? HeadSize { get; init; }
}

/// <summary>
/// Adam-mini (Zhang et al., "Adam-mini: Use Fewer Learning Rates To Gain More", ICLR 2025): Adam with one second moment for each dense block of the
/// Hessian: a head of queries and keys, an output neuron of every other matrix, a token of an embedding, a whole norm or bias.
/// m ← β₁ m + (1 - β₁) g; v ← β₂ v + (1 - β₂) mean(g²) of the block; p ← p (1 - lr λ) - lr (m / bc₁) / (√(v / bc₂) + ε).
/// State: m, and one number for each row or column; half of AdamW's. Two passes, 24 bytes a parameter.
/// </summary>
public sealed class AdamMini : Optimizer<AdamMiniOptions>
{
    /// <inheritdoc/>
    public override string Name => "adam-mini";

    /// <summary>The ends of the names of weights of queries or keys.</summary>
    private static readonly string[] QueriesAndKeys = ["q_proj.weight", "k_proj.weight", "query.weight", "key.weight", "Attention.q.weight", "Attention.k.weight"];

    /// <summary>The blocks of a transformer's parameter, by its name in Hugging Face's files.</summary>
    /// <param name="options">The settings without blocks.</param>
    /// <param name="name">The parameter.</param>
    /// <param name="shape">Its sizes.</param>
    /// <remarks>
    /// Where queries, keys and values lie in one matrix, GPT-2's and ModernBERT's have blocks of heads; in Phi-3's and GPT-NeoX's, whose division its sizes
    /// do not tell, each output neuron is a block.
    /// </remarks>
    /// <exception cref="UserException">The head size does not divide the rows of queries and keys.</exception>
    public static AdamMiniOptions ForParameter(AdamMiniOptions options, string name, IReadOnlyList<int> shape)
    {
        if (shape.Count < 2)
            return options with { Blocks = MiniBlocks.Tensor };
        bool fused = name.EndsWith("c_attn.weight", StringComparison.Ordinal);
        MiniBlocks blocks = fused || name.EndsWith("c_proj.weight", StringComparison.Ordinal) || name.EndsWith("c_fc.weight", StringComparison.Ordinal) ? MiniBlocks.Columns : MiniBlocks.Rows;
        int lines = fused ? shape[^1] / 3 * 2
            : name.EndsWith("Wqkv.weight", StringComparison.Ordinal) ? shape[0] / 3 * 2
            : QueriesAndKeys.Any(end => name.EndsWith(end, StringComparison.Ordinal)) ? shape[0]
            : 0;
        if (lines % (options.HeadSize ?? 1) != 0)
            throw new UserException($"head_size = {options.HeadSize} does not divide the {lines} neurons of queries and keys in {name}; leave it out to take the model's");
        return options with { Blocks = blocks, HeadLines = lines };
    }

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, AdamMiniOptions options)
    {
        var (rows, columns) = Rectangle(shape, options);
        if (options.BlockLength > 0 && shape.Aggregate(1L, (product, size) => product * size) % options.BlockLength != 0)
            throw new UserException($"blocks of {options.BlockLength} elements do not divide the parameter");
        int lines = LayoutOf(shape, options) switch { Layout.PerRow => rows, Layout.PerColumn => columns, _ => 1 };
        return [StateTensor.Signed("exp_avg", shape), new("v_mean", [lines])];
    }

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, AdamMiniOptions o)
    {
        Device device = update.Device;
        if (o.BlockLength == 1)
        {
            update.Move(AdamDirection.Corrected(o, update.Step), Decay.Before(o.WeightDecay), update["exp_avg"], update["v_mean"]);
            return;
        }

        var (rows, columns) = Rectangle(update.Shape, o);
        Layout layout = LayoutOf(update.Shape, o);
        Block second = update.StateValues("v_mean"), sums = device.Pool.Rent(second.Length);
        long lines = second.Length, size = update.Length / lines;
        int grouped = layout == Layout.Scalar || o.BlockLength > 0 ? 0 : o.HeadLines, headSize = o.HeadSize ?? 1, heads = headSize > 1 ? grouped / headSize : 0;
        device.Map(new SquaresRule(), rows, columns, update.Gradient, new Operand(sums, layout));
        float beta2 = (float)o.Beta2;
        if (heads > 0)
        {
            Block totals = device.Pool.Rent(heads);
            device.Map(new TotalRule(), heads, headSize, sums.Slice(0, grouped), Operand.PerRow(totals));
            device.Map(new MeanRule(beta2, (float)((1 - o.Beta2) / (size * headSize))), heads, headSize, second.Slice(0, grouped), Operand.PerRow(totals));
            device.Pool.Return(totals);
        }

        int first = heads > 0 ? grouped : 0;
        device.Map(new MeanRule(beta2, (float)((1 - o.Beta2) / size)), 1, lines - first, second.Slice(first, lines - first), sums.Slice(first, lines - first));
        double correction1 = 1 - Math.Pow(o.Beta1, update.Step), correction2 = 1 - Math.Pow(o.Beta2, update.Step);
        var motion = new Motion(update, Decay.Before(o.WeightDecay));
        motion.Map(new Direction((float)o.Beta1, (float)(1 - o.Beta1), (float)(1 / correction1), (float)(1 / Math.Sqrt(correction2)), (float)o.Epsilon),
            0, rows, columns, update.Gradient, update.StateValues("exp_avg"), new Operand(second, layout));
        motion.End();
        device.Pool.Return(sums);
    }

    private static (int Rows, int Columns) Rectangle(IReadOnlyList<int> shape, AdamMiniOptions o)
    {
        var (batch, rows, columns) = Matrices(shape);
        return o.BlockLength > 0 ? (checked(batch * rows * columns) / o.BlockLength, o.BlockLength) : (batch * rows, columns);
    }

    private static Layout LayoutOf(IReadOnlyList<int> shape, AdamMiniOptions o) => o.BlockLength > 0 ? Layout.PerRow : shape.Count < 2 ? Layout.Scalar
        : o.Blocks switch { MiniBlocks.Rows => Layout.PerRow, MiniBlocks.Columns => Layout.PerColumn, _ => Layout.Scalar };

    /// <summary>v = β v + rest · Σ g².</summary>
    private readonly struct MeanRule(float beta, float rest) : IMap2
    {
        private readonly float beta = beta, rest = rest;

        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L v, ref L sum) where L : struct, ILane<L> => v = L.Fma(L.Splat(beta), v, L.Splat(rest) * sum);
    }

    private readonly struct Direction(float beta, float rest, float meanScale, float rootScale, float epsilon) : IMap4
    {
        private readonly float beta = beta, rest = rest, meanScale = meanScale, rootScale = rootScale, epsilon = epsilon;

        public static Access Access => Access.Of(Slot.Write, Slot.Read, Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L g, ref L m, ref L v) where L : struct, ILane<L>
        {
            m = L.Fma(L.Splat(beta), m, L.Splat(rest) * g);
            u = L.Splat(meanScale) * m / L.Fma(L.Sqrt(v), L.Splat(rootScale), L.Splat(epsilon));
        }
    }
}
