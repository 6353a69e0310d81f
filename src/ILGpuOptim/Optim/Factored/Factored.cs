using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>
/// A second moment factored into the means of its rows and columns (Shazeer and Stern, "Adafactor", ICML 2018), for
/// Adafactor and CAME. A tensor of more than two dimensions is a batch of matrices.
/// </summary>
internal static class Factored
{
    /// <summary>kept = decay · kept + rate · sum: a running mean of means.</summary>
    internal readonly struct RunningMean(float decay, float rate) : IMap2
    {
        private readonly float decay = decay, rate = rate;

        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L kept, ref L sum) where L : struct, ILane<L> =>
            kept = L.Fma(L.Splat(decay), kept, L.Splat(rate) * sum);
    }

    /// <summary>factor = 1 / √(row / (Σ rows / count)).</summary>
    private readonly struct RowFactor(float count) : IMap3
    {
        private readonly float count = count;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L row, ref L total, ref L factor) where L : struct, ILane<L> =>
            factor = L.Splat(1) / L.Sqrt(row / (total / L.Splat(count)));
    }

    /// <summary>1 / √value.</summary>
    internal readonly struct InverseRoot : IMap2
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L value, ref L factor) where L : struct, ILane<L> => factor = L.Splat(1) / L.Sqrt(value);
    }

    /// <summary>Sum of u², u = g · row factor · column factor.</summary>
    internal readonly struct ScaledSquares : IMap4
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L row, ref L column, ref L sum) where L : struct, ILane<L>
        {
            L u = g * row * column;
            sum = u * u;
        }
    }

    /// <summary>clip = size / max(1, size · √(squares / count) / threshold), for an update that is to be multiplied by size first; NaN stays.</summary>
    internal readonly struct ClipFactor(float perElement, float threshold, float size) : IMap2
    {
        private readonly float perElement = perElement, threshold = threshold / size, size = size;

        public static Access Access => Access.Of(Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L squares, ref L clip) where L : struct, ILane<L> =>
            clip = L.Splat(size) / L.Max(L.Splat(1), L.Sqrt(squares * L.Splat(perElement)) / L.Splat(threshold));
    }

    /// <summary>Updates the running means of one matrix from the sums of its rows and columns.</summary>
    public static void Accumulate(Device device, Block sums, Block rows, Block columns, double decay, double rate)
    {
        long m = rows.Length, n = columns.Length;
        device.Map(new RunningMean((float)decay, (float)(rate / n)), 1, m, rows, sums.Slice(0, m));
        device.Map(new RunningMean((float)decay, (float)(rate / m)), 1, n, columns, sums.Slice(m, n));
    }

    /// <summary>
    /// The two factors of 1 / √(rows · columns / mean(rows)), kept apart because their product underflows f32 when
    /// gradients vanish.
    /// </summary>
    public static void Factors(Device device, Block rows, Block columns, Block rowFactors, Block columnFactors, Block scalar)
    {
        device.Map(new TotalRule(), 1, rows.Length, rows, Operand.Scalar(scalar));
        device.Map(new RowFactor(rows.Length), 1, rows.Length, rows, Operand.Scalar(scalar), rowFactors);
        device.Map(new InverseRoot(), 1, columns.Length, columns, columnFactors);
    }
}
