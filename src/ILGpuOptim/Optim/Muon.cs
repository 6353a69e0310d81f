using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>How large an orthogonalised update is.</summary>
public enum MuonScaling
{
    /// <summary>√max(1, rows / columns).</summary>
    Original,

    /// <summary>0.2 √max(rows, columns): the size of AdamW's updates (Liu et al., "Moonlight", 2025).</summary>
    Moonlight,
}

/// <summary>Settings of <see cref="Muon"/>.</summary>
public sealed record MuonOptions : AdamOptions
{
    /// <summary>β and ε are those of the auxiliary AdamW.</summary>
    public MuonOptions() => (LearningRate, Beta2, Epsilon) = (0.02, 0.95, 1e-10);

    /// <summary>Whether the parameter is orthogonalised; else it is trained by AdamW.</summary>
    public bool Orthogonalises { get; init; } = true;

    /// <summary>Decay of the momentum, a running mean.</summary>
    public double Momentum { get; init; } = 0.95;

    /// <summary>Looks ahead by one step.</summary>
    public bool Nesterov { get; init; } = true;

    /// <summary>Newton–Schulz iterations.</summary>
    public int Iterations { get; init; } = 5;

    /// <summary>How large an update is.</summary>
    public MuonScaling Scaling { get; init; }

    /// <summary>Adds 1e-7 to the norm that begins the iteration, instead of keeping the norm above it.</summary>
    public bool AddsToNorm { get; init; } = true;
}

/// <summary>
/// Muon (Jordan et al., 2024): the momentum of a matrix, made nearly orthogonal by five Newton–Schulz iterations
/// X ← aX + (bS + cS²)X, S = X Xᵀ, (a, b, c) = (3.4445, -4.7750, 2.0315), in f32; p = p (1 - lr · decay) - lr · k · X.
/// Tensors of more than two sizes are seen as first size × the rest. Embeddings, heads and vectors belong to the
/// auxiliary AdamW.
/// </summary>
/// <remarks>Bound by arithmetic: about 4 K k² + 2 k³ operations an iteration for a k × K matrix. State 4mn bytes.</remarks>
public sealed class Muon : Optimizer
{
    private const float A = 3.4445f, B = -4.7750f, C = 2.0315f;

    /// <inheritdoc/>
    public override string Name => "muon";

    /// <inheritdoc/>
    public override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, OptimizerOptions options)
    {
        if (!((MuonOptions)options).Orthogonalises)
            return [StateTensor.Signed("exp_avg", shape), StateTensor.NonNegative("exp_avg_sq", shape)];
        if (shape.Count < 2)
            throw new UserException("a vector has no orthogonal form; leave it to the auxiliary AdamW");
        return [StateTensor.Signed("momentum_buffer", shape)];
    }

    /// <inheritdoc/>
    protected override void Update(ParameterState state, double learningRate)
    {
        var o = (MuonOptions)state.Options;
        Parameter p = state.Parameter;
        float decay = (float)(1 - learningRate * o.WeightDecay);
        if (!o.Orthogonalises)
        {
            p.Device.Map(AdamRule.Corrected(o, learningRate, state.Step, decay, 0), 1, p.Length, p.Data, Gradient(state), state.Blocks[0], state.Blocks[1]);
            return;
        }

        int m = p.Shape[0], n = checked((int)(p.Length / m)), small = Math.Min(m, n);
        MemoryPool pool = p.Device.Pool;
        Block x = pool.Rent(p.Length), next = pool.Rent(p.Length), gram = pool.Rent((long)small * small), polynomial = pool.Rent((long)small * small), squares = pool.Rent(1);
        p.Device.Map(new MomentumRule((float)o.Momentum, o.Nesterov), 1, p.Length, Gradient(state), state.Blocks[0], x, Operand.Scalar(squares));
        p.Device.Map(new InverseNorm(o.AddsToNorm), 1, 1, squares);
        p.Device.Map(new ScaleByRule(), 1, p.Length, x, Operand.Scalar(squares));
        for (int i = 0; i < o.Iterations; i++)
        {
            bool wide = m <= n;
            p.Device.Gemm(wide
                ? new GemmArguments(x, x, gram, m, m, n) { TransposeB = true }
                : new GemmArguments(x, x, gram, n, n, m) { TransposeA = true });
            p.Device.Gemm(new GemmArguments(gram, gram, polynomial, small, small, small) { Alpha = C }, new AddScaledRule(B), gram);
            p.Device.Gemm(wide
                ? new GemmArguments(polynomial, x, next, m, n, m)
                : new GemmArguments(x, polynomial, next, m, n, n), new AddScaledRule(A), x);
            (x, next) = (next, x);
        }

        double size = o.Scaling == MuonScaling.Moonlight ? 0.2 * Math.Sqrt(Math.Max(m, n)) : Math.Sqrt(Math.Max(1, (double)m / n));
        p.Device.Map(new StepRule(decay, (float)(learningRate * size)), 1, p.Length, p.Data, x);
        foreach (Block block in (ReadOnlySpan<Block>)[x, next, gram, polynomial, squares])
            pool.Return(block);
    }

    /// <summary>b = μb + (1-μ)g; u = (1-μ)g + μb or b; Σu².</summary>
    private readonly struct MomentumRule(float momentum, bool nesterov) : IMap4
    {
        private readonly float momentum = momentum, rest = 1 - momentum;
        private readonly int nesterov = nesterov ? 1 : 0;

        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Write, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L buffer, ref L u, ref L squares) where L : struct, ILane<L>
        {
            L entering = L.Splat(rest) * g;
            buffer = L.Fma(L.Splat(momentum), buffer, entering);
            u = nesterov != 0 ? L.Fma(L.Splat(momentum), buffer, entering) : buffer;
            squares = u * u;
        }
    }

    private readonly struct InverseNorm(bool adds) : IMap1
    {
        private const float Least = 1e-7f;
        private readonly int adds = adds ? 1 : 0;

        public static Access Access => Access.Of(Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L squares) where L : struct, ILane<L>
        {
            L norm = L.Sqrt(squares);
            squares = L.Splat(1) / (adds != 0 ? norm + L.Splat(Least) : L.Max(L.Splat(Least), norm));
        }
    }

    /// <summary>a += factor · b.</summary>
    private readonly struct AddScaledRule(float factor) : IMap2
    {
        private readonly float factor = factor;

        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a, ref L b) where L : struct, ILane<L> => a = L.Fma(L.Splat(factor), b, a);
    }

    private readonly struct StepRule(float decay, float rate) : IMap2
    {
        private readonly float decay = decay, rate = rate;

        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L x) where L : struct, ILane<L> => p = p * L.Splat(decay) - L.Splat(rate) * x;
    }
}
