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

/// <summary>What a rule does with each of its operands, known when its kernel is compiled.</summary>
/// <param name="bits">Four bits an operand, the first lowest.</param>
public readonly struct Access(uint bits)
{
    private readonly uint bits = bits;

    /// <summary>The most operands a rule may have.</summary>
    public const int MostOperands = 6;

    /// <summary>Declares the operands in the order of the rule's arguments.</summary>
    public static Access Of(Slot a, Slot b = Slot.None, Slot c = Slot.None, Slot d = Slot.None, Slot e = Slot.None, Slot f = Slot.None) =>
        new((uint)a | (uint)b << 4 | (uint)c << 8 | (uint)d << 12 | (uint)e << 16 | (uint)f << 20);

    /// <summary>What the rule does with operand <paramref name="index"/>.</summary>
    public Slot this[int index] => (Slot)(bits >> (4 * index) & 15);

    /// <summary>Whether operand <paramref name="index"/> is read.</summary>
    public bool Reads(int index) => this[index] is Slot.Read or Slot.Update;

    /// <summary>Whether operand <paramref name="index"/> is written element by element.</summary>
    public bool Writes(int index) => this[index] is Slot.Write or Slot.Update;

    /// <summary>Whether operand <paramref name="index"/> collects terms.</summary>
    public bool Reduces(int index) => this[index] is Slot.Sum or Slot.Max;
}
