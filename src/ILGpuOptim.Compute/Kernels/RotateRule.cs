using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

/// <summary>Rotates the points (x, y) by an angle, given by its cosine and sine.</summary>
/// <param name="direction">1, or -1 for the other way.</param>
internal readonly struct RotateRule(float direction) : IMap4
{
    private readonly float direction = direction;

    /// <inheritdoc/>
    public static Access Access => Access.Of(Slot.Update, Slot.Update, Slot.Read, Slot.Read);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L x, ref L y, ref L cosine, ref L sine) where L : struct, ILane<L>
    {
        L turn = sine * L.Splat(direction), first = x;
        x = L.Fma(first, cosine, -(y * turn));
        y = L.Fma(y, cosine, first * turn);
    }
}
