using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="GaLore"/>.</summary>
public sealed record GaLoreOptions : LowRankOptions
{
    /// <summary>Multiplies low-rank updates, but neither weight decay nor updates of other parameters.</summary>
    [Range(0, MinimumIsExclusive = true)]
    public double Scale { get; init; } = 0.25;
}

/// <summary>
/// GaLore, gradient low-rank projection (Zhao et al., ICML 2024): Adam in the leading singular directions of the
/// gradient, p -= step · scale · lifted(N).
/// </summary>
/// <remarks>
/// 16 bytes a parameter and two thin products: the projection reads g (4), the lifting product updates p in place (8),
/// its basis and moments are thin. A refresh takes the leading singular vectors (<see cref="ProjectionBasis"/>).
/// </remarks>
public sealed class GaLore : LowRankOptimizer
{
    /// <inheritdoc/>
    public override string Name => "galore";

    internal override void Check(in Projection projection, LowRankOptions options)
    {
        if (options.Basis == ProjectionBasis.Random && projection.IsFull)
            throw new UserException("a two-sided projection takes singular vectors; use the svd basis");
    }

    internal override void Update(ParameterState state, LowRankOptions options, in Projection projection, Block basis, Block second, Block low, float step, float decay)
    {
        Device device = state.Parameter.Device;
        Block direction = device.Pool.Rent(low.Length), half = device.Pool.Rent(projection.IsFull ? (long)projection.Rank * projection.Columns : 1);
        device.Map(new DirectionRule(new Moments(options)), 1, low.Length, Low(low), state.Blocks[0], state.Blocks[1], direction);
        device.Gemm(
            projection.Back(device, direction, basis, second, half, state.Parameter.Data, -step * (float)((GaLoreOptions)options).Scale, 1),
            new DecayRule(decay));
        device.Pool.Return(direction);
        device.Pool.Return(half);
    }

    /// <summary>p *= decay.</summary>
    private readonly struct DecayRule(float decay) : IMap1
    {
        private readonly float decay = decay;

        public static Access Access => Access.Of(Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p) where L : struct, ILane<L> => p *= L.Splat(decay);
    }
}
