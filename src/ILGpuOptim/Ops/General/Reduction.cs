using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Sums over any axes as sums over the rows or the columns of rectangles.</summary>
internal static class Reduction
{
    /// <summary>target = factor · Σ source over the marked axes; the target is contiguous over the others.</summary>
    /// <param name="tape">Allocates intermediate sums.</param>
    /// <param name="source">Contiguous.</param>
    /// <param name="shape">The source's sizes.</param>
    /// <param name="axes">The axes to sum over.</param>
    /// <param name="target">Receives the sums; its layout is ignored.</param>
    /// <param name="factor">Multiplies the sums.</param>
    public static void Sum(Tape tape, Block source, ReadOnlySpan<int> shape, ReadOnlySpan<bool> axes, Operand target, float factor = 1)
    {
        if (source.Length == 0)
        {
            if (!target.Accumulate)
                tape.Device.Fill(target.Block, 0 * factor);
            return;
        }

        Sum(tape, source, Group.Of(shape, axes), target, factor);
    }

    private static void Sum(Tape tape, Block source, List<Group> groups, Operand target, float factor)
    {
        if (groups.Count > 2 && !groups[0].Sums && !groups[^1].Sums)
        {
            source = SumsLast(tape, source, groups);
            long kept = groups.Where(group => !group.Sums).Aggregate(1L, (size, group) => size * group.Size);
            groups = [new(kept, false), new(source.Length / kept, true)];
        }

        // Reduce one end after the other until a rectangle is left.
        if (groups.Count > 2)
        {
            int end = groups[^1].Sums ? groups.Count - 1 : 0;
            long size = groups[end].Size;
            Block sums = tape.Scratch(source.Length / size);
            if (end == 0)
                tape.Device.Map(new TotalRule(), size, sums.Length, source, Operand.PerColumn(sums));
            else
                tape.Device.Map(new TotalRule(), sums.Length, size, source, Operand.PerRow(sums));
            groups.RemoveAt(end);
            Sum(tape, sums, groups, target, factor);
            tape.Release(sums);
            return;
        }

        long first = groups.Count == 0 ? 1 : groups[0].Size, rest = source.Length / first;
        if (groups.Count == 2 && groups[0].Sums)
            tape.Device.Map(new ScaledTotalRule(factor), first, rest, source, target with { Layout = Layout.PerColumn });
        else if (groups.Count == 2 || groups is [{ Sums: false }])
            tape.Device.Map(new ScaledTotalRule(factor), first, rest, source, target with { Layout = Layout.PerRow });
        else
            tape.Device.Map(new ScaledTotalRule(factor), 1, first, source, target with { Layout = Layout.Scalar });
    }

    /// <summary>A copy in which the summed axes come last.</summary>
    private static Block SumsLast(Tape tape, Block source, List<Group> groups)
    {
        long[] strides = new long[groups.Count], targetStrides = new long[groups.Count];
        long stride = 1;
        for (int k = groups.Count - 1; k >= 0; stride *= groups[k--].Size)
            strides[k] = stride;
        stride = 1;
        foreach (bool sums in (ReadOnlySpan<bool>)[true, false])
        {
            for (int k = groups.Count - 1; k >= 0; k--)
            {
                if (groups[k].Sums != sums)
                    continue;
                targetStrides[k] = stride;
                stride *= groups[k].Size;
            }
        }

        Block target = tape.Scratch(source.Length);
        tape.Device.CopyStrided(source, 0, target, 0, [.. groups.Select((group, k) => new StridedAxis(group.Size, strides[k], targetStrides[k]))]);
        return target;
    }

    /// <summary>Adjacent axes that are all summed over, or all kept.</summary>
    private readonly record struct Group(long Size, bool Sums)
    {
        public static List<Group> Of(ReadOnlySpan<int> shape, ReadOnlySpan<bool> axes)
        {
            var groups = new List<Group>();
            for (int k = 0; k < shape.Length; k++)
            {
                if (shape[k] == 1)
                    continue;
                if (groups.Count > 0 && groups[^1].Sums == axes[k])
                    groups[^1] = new Group(groups[^1].Size * shape[k], axes[k]);
                else
                    groups.Add(new Group(shape[k], axes[k]));
            }

            return groups;
        }
    }
}

/// <summary>b = factor · Σ a over the axes that b lacks.</summary>
internal readonly struct ScaledTotalRule(float factor) : IMap2
{
    private readonly float factor = factor;

    public static Access Access => Access.Of(Slot.Read, Slot.Sum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L a, ref L b) where L : struct, ILane<L> => b = L.Splat(factor) * a;
}
