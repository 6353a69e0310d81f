using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>How the elements that remain under caution are scaled up.</summary>
public enum CautionForm
{
    /// <summary>By the reciprocal of their fraction, as C-AdamW.</summary>
    Mean,

    /// <summary>By the number of elements / (the number that remain + 1), as C-Lion.</summary>
    Count,
}

/// <summary>
/// Caution (Liang et al., "Cautious Optimizers", 2024): elements of the direction whose sign differs from the gradient's become zero, and the rest is scaled up:
/// u ← u · 1[u g > 0] / max(fraction of elements that remain, floor). Before all other parts of the direction.
/// </summary>
public sealed record Cautious : Part
{
    /// <inheritdoc/>
    public override string Name => "cautious";

    /// <inheritdoc/>
    public override string Summary => "zeroes elements of the direction whose sign differs from the gradient's (2024)";

    /// <summary>How the remaining elements are scaled up.</summary>
    [Description("scale of the remaining elements: mean, 1 / their fraction; or count, elements / (remaining + 1)")]
    public CautionForm CautionForm { get; init; }

    /// <summary>The smallest fraction in <see cref="CautionForm.Mean"/>.</summary>
    [Description("smallest fraction of remaining elements that scales up the rest")]
    [Range(0, 1, MinimumIsExclusive = true)]
    public double CautionFloor { get; init; } = 1e-3;
}

/// <summary>The gradient with its penalty, and the direction that agrees with it.</summary>
internal readonly struct Hold(double penalty, bool masks)
{
    private readonly float penalty = (float)penalty;
    private readonly int masks = masks ? 1 : 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Penalized<L>(L p, L g) where L : struct, ILane<L> => L.Fma(L.Splat(penalty), p, g);

    /// <summary>The direction to keep; the sum counts its elements under caution, and is that of its squares otherwise.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Of<L>(L g, L u, out L sum) where L : struct, ILane<L>
    {
        sum = u * u;
        if (masks == 0)
            return u;
        sum = Agrees(g, u, L.Splat(1));
        return Agrees(g, u, u);
    }

    /// <summary>The direction where another one agrees with the gradient, under caution.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Masked<L>(L g, L other, L u) where L : struct, ILane<L> => masks == 0 ? u : Agrees(g, other, u);

    /// <summary>The value where g and u have the same sign, 0 elsewhere. A NaN agrees, so that it stays visible.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static L Agrees<L>(L g, L u, L value) where L : struct, ILane<L>
    {
        L zero = L.Splat(0), product = g * u;
        return L.Select(L.Less(product, zero), zero, L.Select(L.Equal(product, zero), zero, value));
    }
}

/// <summary>Masks a direction in memory, and counts its elements.</summary>
internal readonly struct MaskRule(Hold hold) : IMap4
{
    private readonly Hold hold = hold;

    public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Update, Slot.Sum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L g, ref L u, ref L count) where L : struct, ILane<L> => u = hold.Of(hold.Penalized(p, g), u, out count);
}

/// <summary>Scales the factor of a direction up by the number of elements that caution kept.</summary>
internal readonly struct CautionRule(Cautious caution, long length) : IMap2
{
    private readonly float perElement = 1f / length, length = length, floor = (float)caution.CautionFloor;
    private readonly int form = (int)caution.CautionForm;

    public static Access Access => Access.Of(Slot.Read, Slot.Update);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L count, ref L factor) where L : struct, ILane<L>
    {
        if (form == (int)CautionForm.Mean)
            factor /= L.Max(L.Splat(floor), count * L.Splat(perElement));
        else
            factor *= L.Splat(length) / (count + L.Splat(1));
    }
}
