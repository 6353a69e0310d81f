using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

/// <summary>What a rule does with one of its operands.</summary>
public enum Slot
{
    /// <summary>The rule has no such operand.</summary>
    None = 0,

    /// <summary>Read only.</summary>
    Read = 1,

    /// <summary>Written, never read: the rule must assign it.</summary>
    Write = 2,

    /// <summary>Read and written in place.</summary>
    Update = 3,

    /// <summary>
    /// The rule assigns a term; the runner adds the terms up over the axes that the operand lacks: per row, per
    /// column, or in total. The order of the additions depends on the shape alone.
    /// </summary>
    Sum = 4,

    /// <summary>As <see cref="Sum"/>, keeping the largest term instead of the total.</summary>
    Max = 5,
}

/// <summary>
/// What a rule does with each of its operands, four bits each, the first lowest: made by <c>Access.Of</c>. A plain
/// number, because compilers fold questions about a constant number away, and not those about a structure.
/// </summary>
public enum Access : uint
{
    /// <summary>No operands.</summary>
    None = 0,
}

/// <summary>Making and asking <see cref="Access"/>.</summary>
public static class AccessExtensions
{
    extension(Access)
    {
        /// <summary>The most operands a rule may have.</summary>
        public static int MostOperands => 6;

        /// <summary>Declares the operands in the order of the rule's arguments.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Access Of(Slot a, Slot b = Slot.None, Slot c = Slot.None, Slot d = Slot.None, Slot e = Slot.None, Slot f = Slot.None) =>
            (Access)((uint)a | (uint)b << 4 | (uint)c << 8 | (uint)d << 12 | (uint)e << 16 | (uint)f << 20);
    }

    extension(Access access)
    {
        /// <summary>What the rule does with operand <paramref name="index"/>.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Slot At(int index) => (Slot)((uint)access >> (4 * index) & 15);

        /// <summary>Whether operand <paramref name="index"/> is read.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public bool Reads(int index) => ((uint)access >> (4 * index) & 13) == 1;

        /// <summary>Whether operand <paramref name="index"/> is written element by element.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public bool Writes(int index) => ((uint)access >> (4 * index) & 14) == 2;

        /// <summary>The same with every <see cref="Slot.Write"/> turned into <see cref="Slot.Update"/>.</summary>
        internal Access Updating
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            get => (Access)((uint)access | ((uint)access & 0x222222) >> 1);
        }

        /// <summary>Whether operand <paramref name="index"/> collects terms.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public bool Reduces(int index) => ((uint)access >> (4 * index) & 14) == 4;
    }
}
