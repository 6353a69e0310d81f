using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Optim;

/// <summary>
/// A projection to one dimension, rounded once. The denominator of a channel's factor ‖N‖ / ‖R‖ is then a single number, which may nearly cancel;
/// f32 sums would have a rounding error of its size.
/// </summary>
internal static class RankOne
{
    /// <summary>
    /// R from the gradient. Each product is split exactly into a multiple of some grid, so coarse that sums of multiples are exact, and a rest
    /// that is a millionth of it (Rump, Ogita and Oishi, "Accurate floating-point summation", 2008).
    /// </summary>
    public static void Project(in LowRankUpdate update)
    {
        Device device = update.Update.Device;
        Projection projection = update.Projection;
        Block gradient = update.Update.Gradient.Block, basis = update.Basis, low = update.Low.Block;
        Layout along = projection.IsLeft ? Layout.PerRow : Layout.PerColumn, across = projection.IsLeft ? Layout.PerColumn : Layout.PerRow;
        Block grid = device.Pool.Rent(2), rests = device.Pool.Rent(low.Length), size = grid.Slice(0, 1), length = grid.Slice(1, 1);
        device.Map(new SquaresRule(), 1, gradient.Length, gradient, Operand.Scalar(size));
        device.Map(new SquaresRule(), 1, basis.Length, basis, Operand.Scalar(length));
        device.Map(new GridRule(4f * basis.Length), 1, 1, size, length);
        device.Map(new SplitRule(), projection.Rows, projection.Columns, gradient, new Operand(basis, along), Operand.Scalar(size), new Operand(low, across), new Operand(rests, across));
        device.Map(new AddRule(), 1, low.Length, low, rests);
        device.Pool.Return(grid);
        device.Pool.Return(rests);
    }

    /// <summary>An upper bound of the sums of this number of products.</summary>
    private readonly struct GridRule(float count) : IMap2
    {
        private readonly float count = count;

        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L size, ref L length) where L : struct, ILane<L> => size = L.Splat(count) * (L.Sqrt(size) * L.Sqrt(length));
    }

    /// <summary>Sums of the coarse parts of g · direction, and of the remainders.</summary>
    private readonly struct SplitRule : IMap5
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Sum, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L direction, ref L grid, ref L coarse, ref L rest) where L : struct, ILane<L>
        {
            L product = g * direction;
            coarse = (product + grid) - grid;
            rest = (product - coarse) + L.Fma(g, direction, -product);
        }
    }
}
