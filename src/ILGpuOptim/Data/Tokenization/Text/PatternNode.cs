namespace ILGpuOptim.Data.Tokenization;

/// <summary>A node of a regular expression over code points.</summary>
internal abstract record PatternNode
{
    /// <summary>Matches one code point of a set.</summary>
    public sealed record Characters(CodePointSet Set) : PatternNode;

    /// <summary>Matches parts in sequence.</summary>
    public sealed record Sequence(IReadOnlyList<PatternNode> Parts) : PatternNode;

    /// <summary>Matches the first alternative that leads to a match.</summary>
    public sealed record Choice(IReadOnlyList<PatternNode> Alternatives) : PatternNode;

    /// <summary>A repetition; a maximum of null means unlimited.</summary>
    public sealed record Repeat(PatternNode Body, int Minimum, int? Maximum, bool Lazy) : PatternNode;

    /// <summary>An atomic group: it is not backtracked into once it has matched.</summary>
    public sealed record Atomic(PatternNode Body) : PatternNode;

    /// <summary>A look-ahead or look-behind assertion.</summary>
    public sealed record Look(PatternNode Body, bool Behind, bool Negative) : PatternNode;

    /// <summary>Matches at a position.</summary>
    public sealed record Anchor(Place Where) : PatternNode;

    /// <summary>Kinds of positions.</summary>
    public enum Place
    {
        /// <summary><c>^</c>: the start of the text, or after a line feed that is not the last character.</summary>
        LineStart,

        /// <summary><c>$</c>: the end of the text, or before a line feed.</summary>
        LineEnd,

        /// <summary><c>\A</c>.</summary>
        Start,

        /// <summary><c>\z</c>.</summary>
        End,

        /// <summary><c>\Z</c>: the end of the text, or before its last line feed.</summary>
        EndOrLastLine,
    }

    /// <summary>The child nodes.</summary>
    public IEnumerable<PatternNode> Children => this switch
    {
        Sequence sequence => sequence.Parts,
        Choice choice => choice.Alternatives,
        Repeat repeat => [repeat.Body],
        Atomic atomic => [atomic.Body],
        Look look => [look.Body],
        _ => [],
    };

    /// <summary>The node and all its descendants.</summary>
    public IEnumerable<PatternNode> All => Children.SelectMany(child => child.All).Prepend(this);
}
