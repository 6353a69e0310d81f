using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Scaling of an orthogonalised update.</summary>
public enum MuonScaling
{
    /// <summary>√max(1, rows / columns).</summary>
    Original,

    /// <summary>0.2 √max(rows, columns): the size of AdamW's updates (Liu et al., "Moonlight", 2025).</summary>
    Moonlight,
}

/// <summary>Implementations of Muon, which differ in details.</summary>
public enum MuonForm
{
    /// <summary>
    /// Keller Jordan's: 1e-7 is added to the norm that begins the iteration; a tensor of three sizes is a batch of matrices, and
    /// <see cref="MuonScaling.Original"/> looks at the last two sizes even of a tensor that is flattened.
    /// </summary>
    Original,

    /// <summary>
    /// pytorch_optimizer's: the norm is kept above 1e-7; every tensor of more than two sizes is seen as first size × the rest; the auxiliary
    /// AdamW's correction divides ε too.
    /// </summary>
    Collection,

    /// <summary>torch.optim.Muon's: the norm is kept above its bound, and tensors of more than two sizes are refused.</summary>
    Torch,
}

/// <summary>Settings of optimizers that orthogonalise the momentum of matrices and train everything else by AdamW.</summary>
public record OrthogonalOptions : AdamOptions
{
    /// <summary>β and ε are those of the auxiliary AdamW.</summary>
    public OrthogonalOptions() => (LearningRate, Beta2, Epsilon) = (0.02, 0.95, 1e-10);

    /// <summary>Orthogonalises the updates of the parameter; otherwise AdamW trains it.</summary>
    [DerivedOption]
    public bool Orthogonalises { get; init; } = true;

    /// <summary>Decay of the momentum, a running mean.</summary>
    [Description("decay rate of the momentum, a running mean")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Momentum { get; init; } = 0.95;

    /// <summary>Enables Nesterov momentum.</summary>
    [Description("enables Nesterov momentum")]
    public bool Nesterov { get; init; } = true;

    /// <summary>Newton–Schulz iterations.</summary>
    [Description("Newton–Schulz iterations")]
    [Range(1, 100)]
    public int Iterations { get; init; } = 5;

    /// <summary>Coefficient of X in an iteration.</summary>
    [Description("coefficient of X in a Newton–Schulz iteration")]
    [Range(-100, 100)]
    public double Coefficient1 { get; init; } = 3.4445;

    /// <summary>Coefficient of X Xᵀ X in an iteration.</summary>
    [Description("coefficient of X Xᵀ X in a Newton–Schulz iteration")]
    [Range(-100, 100)]
    public double Coefficient2 { get; init; } = -4.7750;

    /// <summary>Coefficient of (X Xᵀ)² X in an iteration.</summary>
    [Description("coefficient of (X Xᵀ)² X in a Newton–Schulz iteration")]
    [Range(-100, 100)]
    public double Coefficient3 { get; init; } = 2.0315;

    /// <summary>Keeps the norm that begins the iteration away from zero.</summary>
    [Description("bound of, or term added to, the norm that begins the Newton–Schulz iteration")]
    [Range(0, MinimumIsExclusive = true)]
    public double NormEpsilon { get; init; } = 1e-7;

    /// <summary>Scaling of the update.</summary>
    [Description("size of updates: original, √max(1, rows / columns); or moonlight, that of AdamW")]
    [FormerName("muon_scaling")]
    public MuonScaling Scaling { get; init; }

    /// <summary>The factor of orthogonalised updates.</summary>
    internal double Size(int rows, int columns, double ratio) => Scaling == MuonScaling.Moonlight ? 0.2 * Math.Sqrt(Math.Max(rows, columns)) : Math.Sqrt(Math.Max(1, ratio));
}

/// <summary>Settings of <see cref="Muon"/>.</summary>
public sealed record MuonOptions : OrthogonalOptions
{
    /// <summary>The implementation to follow.</summary>
    [Description("details of Keller Jordan's implementation (original), of pytorch_optimizer's (collection) or of torch.optim.Muon (torch)")]
    [FormerName("muon_form")]
    public MuonForm Form { get; init; }

    /// <summary>Adds weight decay to the gradient, before the momentum, instead of multiplying the parameter.</summary>
    [Description("adds weight decay to the gradient")]
    public bool CoupledDecay { get; init; }
}

/// <summary>
/// Muon (Jordan et al., 2024): the momentum of a matrix, made nearly orthogonal by five Newton–Schulz iterations
/// X ← aX + (bS + cS²)X, S = X Xᵀ, (a, b, c) = (3.4445, -4.7750, 2.0315), in f32; p = p (1 - lr · decay) - lr · k · X.
/// Tensors of more than two sizes: see <see cref="MuonForm"/>. Embeddings, heads and vectors belong to the
/// auxiliary AdamW.
/// </summary>
/// <remarks>Bound by arithmetic: about 4 K k² + 2 k³ operations an iteration for a k × K matrix. State 4mn bytes.</remarks>
public sealed class Muon : Optimizer<MuonOptions>
{
    /// <inheritdoc/>
    public override string Name => "muon";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, MuonOptions options)
    {
        if (!options.Orthogonalises)
            return [StateTensor.Signed("exp_avg", shape), StateTensor.NonNegative("exp_avg_sq", shape)];
        if (shape.Count < 2)
            throw new UserException("a vector has no orthogonal form; leave it to the auxiliary AdamW");
        if (shape.Count > 2 && options.Form == MuonForm.Torch)
            throw new UserException("torch's form of Muon takes matrices only; use another form, or leave the tensor to the auxiliary AdamW");
        return [StateTensor.Signed("momentum_buffer", shape)];
    }

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, MuonOptions o)
    {
        double penalty = o.CoupledDecay ? o.WeightDecay : 0;
        if (!o.Orthogonalises)
        {
            AdamDirection direction = o.Form == MuonForm.Collection ? AdamDirection.CorrectedWithEpsilon(o, update.Step) : AdamDirection.Corrected(o, update.Step);
            update.Move(direction, new Decay(o.CoupledDecay ? DecayForm.Gradient : DecayForm.Before, o.WeightDecay), update["exp_avg"], update["exp_avg_sq"]);
            return;
        }

        Device device = update.Device;
        Block momentum = update.StateValues("momentum_buffer");
        Operand gradient = update.Gradient;
        Block? penalized = null;
        if (penalty != 0)
        {
            penalized = device.Pool.Rent(update.Length);
            update.Map(new PenaltyRule((float)penalty), gradient, update.Weights, penalized.Value);
            gradient = penalized.Value;
        }

        bool isBatch = o.Form == MuonForm.Original && update.Shape.Count == 3;
        int batch = isBatch ? update.Shape[0] : 1, m = isBatch ? update.Shape[1] : update.Shape[0], n = checked((int)(update.Length / batch / m));
        double ratio = o.Form == MuonForm.Original ? (double)update.Shape[^2] / update.Shape[^1] : (double)m / n;
        double size = o.Size(m, n, ratio);
        var motion = new Motion(update, Decay.Before(o.CoupledDecay ? 0 : o.WeightDecay), size, isCautious: false);
        for (int b = 0; b < batch; b++)
        {
            long start = (long)b * m * n, length = (long)m * n;
            Update(device, o, update.State.Parts.Caution, motion, start, gradient.Slice(start, length), momentum.Slice(start, length), m, n);
        }

        motion.End();
        if (penalized is { } block)
            device.Pool.Return(block);
    }

    /// <summary>One m × n matrix. Caution masks the momentum before it is orthogonalised, as in C-Muon; its scale cancels there.</summary>
    private static void Update(Device device, MuonOptions o, Cautious? caution, in Motion motion, long start, in Operand gradient, Block momentum, int m, int n)
    {
        Block x = NewtonSchulz.Orthogonalised(device, o, o.Form == MuonForm.Original, gradient, momentum, m, n, caution is not null);
        motion.Map(new Direction(), start, 1, (long)m * n, x);
        device.Pool.Return(x);
    }

    private readonly struct Direction : IMap2
    {
        public static Access Access => Access.Of(Slot.Write, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L x) where L : struct, ILane<L> => u = x;
    }
}
