using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

/// <summary>The access of a rule to one operand.</summary>
public enum Slot
{
    /// <summary>The rule has no such operand.</summary>
    None = 0,

    /// <summary>Read only.</summary>
    Read = 1,

    /// <summary>Write only: the rule must assign it.</summary>
    Write = 2,

    /// <summary>Read and written in place.</summary>
    Update = 3,

    /// <summary>
    /// The rule assigns a term; terms are summed over the axes that the operand lacks: per row, per
    /// column, or in total. The order of additions depends on the shape only.
    /// </summary>
    Sum = 4,

    /// <summary>As <see cref="Sum"/>, with the maximum instead of the total.</summary>
    Max = 5,
}

/// <summary>
/// How a rule accesses each operand, four bits each, the first lowest; made by <c>Access.Of</c>. An integer,
/// because compilers fold expressions of a constant integer, but not of a structure.
/// </summary>
public enum Access : uint
{
    /// <summary>No operands.</summary>
    None = 0,
}

/// <summary>Constructs and queries <see cref="Access"/>.</summary>
public static class AccessExtensions
{
    extension(Access)
    {
        /// <summary>The maximum number of operands.</summary>
        public static int MaxOperands => 6;

        /// <summary>Declares the operands in the order of the rule's arguments.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Access Of(Slot a, Slot b = Slot.None, Slot c = Slot.None, Slot d = Slot.None, Slot e = Slot.None, Slot f = Slot.None) =>
            (Access)((uint)a | (uint)b << 4 | (uint)c << 8 | (uint)d << 12 | (uint)e << 16 | (uint)f << 20);
    }

    extension(Access access)
    {
        /// <summary>The access to operand <paramref name="index"/>.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Slot At(int index) => (Slot)((uint)access >> (4 * index) & 15);

        /// <summary>True if operand <paramref name="index"/> is read.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public bool Reads(int index) => ((uint)access >> (4 * index) & 13) == 1;

        /// <summary>True if operand <paramref name="index"/> is written element by element.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public bool Writes(int index) => ((uint)access >> (4 * index) & 14) == 2;

        /// <summary>The same with <see cref="Slot.Update"/> for each <see cref="Slot.Write"/>.</summary>
        internal Access Updating
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            get => (Access)((uint)access | ((uint)access & 0x222222) >> 1);
        }

        /// <summary>The number of operands.</summary>
        internal int Count => (35 - System.Numerics.BitOperations.LeadingZeroCount((uint)access)) / 4;

        /// <summary>True if any operand is a reduction.</summary>
        internal bool ReducesAny => ((uint)access & 0x444444) != 0;

        /// <summary>True if operand <paramref name="index"/> is a reduction.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public bool Reduces(int index) => ((uint)access >> (4 * index) & 14) == 4;
    }
}
