using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>
/// The momentum of a matrix, made nearly orthogonal (Jordan et al., "Muon", 2024): X = u / ‖u‖, then X ← aX + (bS + cS²)X with S = X Xᵀ of the short side.
/// </summary>
internal static class NewtonSchulz
{
    /// <summary>Updates the momentum of an m × n matrix and orthogonalises the direction that it gives.</summary>
    /// <param name="device">The device of all operands.</param>
    /// <param name="o">Momentum and iterations.</param>
    /// <param name="addsEpsilon">Adds <see cref="OrthogonalOptions.NormEpsilon"/> to the norm; otherwise it is a lower bound.</param>
    /// <param name="gradient">The gradient.</param>
    /// <param name="momentum">The running mean of gradients, in f32.</param>
    /// <param name="m">Rows.</param>
    /// <param name="n">Columns.</param>
    /// <param name="isCautious">Masks elements of the direction where momentum and gradient differ in sign; a scale would cancel.</param>
    /// <returns>A block of the pool, which the caller returns.</returns>
    public static Block Orthogonalised(Device device, OrthogonalOptions o, bool addsEpsilon, in Operand gradient, Block momentum, int m, int n, bool isCautious = false)
    {
        int small = Math.Min(m, n);
        long length = (long)m * n;
        MemoryPool pool = device.Pool;
        Block x = pool.Rent(length), next = pool.Rent(length), gram = pool.Rent((long)small * small), polynomial = pool.Rent((long)small * small), squares = pool.Rent(1);
        device.Map(new MomentumRule((float)o.Momentum, o.Nesterov, isCautious), 1, length, gradient, momentum, x, Operand.Scalar(squares));
        device.Map(new InverseNorm((float)o.NormEpsilon, addsEpsilon), 1, 1, squares);
        device.Map(new ScaleByRule(), 1, length, x, Operand.Scalar(squares));
        float a = (float)o.Coefficient1, b = (float)o.Coefficient2, c = (float)o.Coefficient3;
        bool wide = m <= n;
        for (int i = 0; i < o.Iterations; i++)
        {
            device.Gemm(wide
                ? new GemmArguments(x, x, gram, m, m, n) { TransposeB = true }
                : new GemmArguments(x, x, gram, n, n, m) { TransposeA = true });
            device.Gemm(new GemmArguments(gram, gram, polynomial, small, small, small) { Alpha = c }, new AddScaledRule(b), gram);
            device.Gemm(wide
                ? new GemmArguments(polynomial, x, next, m, n, m)
                : new GemmArguments(x, polynomial, next, m, n, n), new AddScaledRule(a), x);
            (x, next) = (next, x);
        }

        foreach (Block block in (ReadOnlySpan<Block>)[next, gram, polynomial, squares])
            pool.Return(block);
        return x;
    }

    /// <summary>b = μb + (1-μ)g; u = (1-μ)g + μb or b, under caution where b and g have the same sign; Σu².</summary>
    private readonly struct MomentumRule(float momentum, bool nesterov, bool masks) : IMap4
    {
        private readonly float momentum = momentum, rest = 1 - momentum;
        private readonly int nesterov = nesterov ? 1 : 0;
        private readonly Hold hold = new(0, masks);

        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Write, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L buffer, ref L u, ref L squares) where L : struct, ILane<L>
        {
            L entering = L.Splat(rest) * g;
            buffer = L.Fma(L.Splat(momentum), buffer, entering);
            u = nesterov != 0 ? L.Fma(L.Splat(momentum), buffer, entering) : buffer;
            u = hold.Masked(g, buffer, u);
            squares = u * u;
        }
    }

    private readonly struct InverseNorm(float epsilon, bool adds) : IMap1
    {
        private readonly float epsilon = epsilon;
        private readonly int adds = adds ? 1 : 0;

        public static Access Access => Access.Of(Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L squares) where L : struct, ILane<L>
        {
            L norm = L.Sqrt(squares);
            squares = L.Splat(1) / (adds != 0 ? norm + L.Splat(epsilon) : L.Max(L.Splat(epsilon), norm));
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
}
