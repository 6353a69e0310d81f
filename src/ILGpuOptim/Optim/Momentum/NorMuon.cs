using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>
/// NorMuon (Li et al., "NorMuon: Making Muon more efficient and scalable", 2025): O is Muon's orthogonalised momentum, v ← β₂v + (1-β₂) mean(O²) of each row,
/// N = O / (√v + 10⁻¹⁰), scaled back to the norm of O; p = p (1 - lr · decay) - lr · k · N. As in <see cref="MuonForm.Original"/>, a tensor of three sizes is a
/// batch of matrices; one of more sizes is flattened to first size × the rest for the iteration only. Embeddings, heads and vectors belong to the auxiliary AdamW.
/// </summary>
/// <remarks>Both norms follow from the sums of rows, so that normalising costs one pass over O and none over other matrices. State 4mn + 4m bytes.</remarks>
public sealed class NorMuon : Optimizer<OrthogonalOptions>
{
    /// <inheritdoc/>
    public override string Name => "normuon";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, OrthogonalOptions options)
    {
        if (!options.Orthogonalises)
            return [StateTensor.Signed("exp_avg", shape), StateTensor.NonNegative("exp_avg_sq", shape)];
        if (shape.Count < 2)
            throw new UserException("a vector has no orthogonal form; leave it to the auxiliary AdamW");
        return [StateTensor.Signed("momentum_buffer", shape), new("second_momentum_buffer", [.. shape.SkipLast(1), 1])];
    }

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, OrthogonalOptions o)
    {
        if (!o.Orthogonalises)
        {
            update.Move(AdamDirection.Corrected(o, update.Step), Decay.Before(o.WeightDecay), update["exp_avg"], update["exp_avg_sq"]);
            return;
        }

        Device device = update.Device;
        Block momentum = update.StateValues("momentum_buffer"), rows = update.StateValues("second_momentum_buffer");
        bool isBatch = update.Shape.Count == 3;
        int batch = isBatch ? update.Shape[0] : 1, m = isBatch ? update.Shape[1] : update.Shape[0], n = checked((int)(update.Length / batch / m));
        int height = update.Shape[^2], width = update.Shape[^1];
        var motion = new Motion(update, Decay.Before(o.WeightDecay), o.Size(m, n, (double)height / width), isCautious: false);
        var means = new RowRule((float)o.Beta2, (float)(1 - o.Beta2), 1f / width);
        Block sums = device.Pool.Rent(height), scales = device.Pool.Rent(height), norms = device.Pool.Rent(2);
        for (int b = 0; b < batch; b++)
        {
            long start = (long)b * m * n, length = (long)m * n;
            Block x = NewtonSchulz.Orthogonalised(device, o, addsEpsilon: true, update.Gradient.Slice(start, length), momentum.Slice(start, length), m, n, update.State.Parts.Caution is not null);
            for (long first = 0; first < length; first += (long)height * width)
            {
                Block part = x.Slice(first, (long)height * width);
                device.Map(new SquaresRule(), height, width, part, Operand.PerRow(sums));
                device.Map(means, 1, height, rows.Slice((start + first) / width, height), sums, scales, Operand.Scalar(norms.Slice(0, 1)), Operand.Scalar(norms.Slice(1, 1)));
                device.Map(default(RestoreRule), 1, height, scales, Operand.Scalar(norms.Slice(0, 1)), Operand.Scalar(norms.Slice(1, 1)));
                motion.Map(new Direction(), start + first, height, width, part, Operand.PerRow(scales));
            }

            device.Pool.Return(x);
        }

        motion.End();
        foreach (Block block in (ReadOnlySpan<Block>)[sums, scales, norms])
            device.Pool.Return(block);
    }

    /// <summary>v = βv + (1-β) Σo² / columns; s = 1 / (√v + ε); the sums of Σo² and of s² Σo² over all rows: ‖O‖² and ‖N‖².</summary>
    private readonly struct RowRule(float beta, float rest, float perColumn) : IMap5
    {
        private const float Epsilon = 1e-10f;
        private readonly float beta = beta, rest = rest, perColumn = perColumn;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Write, Slot.Sum, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L v, ref L squares, ref L scale, ref L before, ref L after) where L : struct, ILane<L>
        {
            v = L.Fma(L.Splat(beta), v, L.Splat(rest) * (squares * L.Splat(perColumn)));
            scale = L.Splat(1) / (L.Sqrt(v) + L.Splat(Epsilon));
            before = squares;
            L root = L.Sqrt(squares) * scale;
            after = root * root;
        }
    }

    /// <summary>scale *= ‖O‖ / (‖N‖ + ε).</summary>
    private readonly struct RestoreRule : IMap3
    {
        private const float Epsilon = 1e-10f;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L scale, ref L before, ref L after) where L : struct, ILane<L> =>
            scale *= L.Sqrt(before) / (L.Sqrt(after) + L.Splat(Epsilon));
    }

    /// <summary>o · scale of the row.</summary>
    private readonly struct Direction : IMap3
    {
        public static Access Access => Access.Of(Slot.Write, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L o, ref L scale) where L : struct, ILane<L> => u = o * scale;
    }
}
