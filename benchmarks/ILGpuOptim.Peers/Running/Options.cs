namespace PeerBenchmarks.Running;

/// <summary>What the command line asks for.</summary>
/// <param name="Command">Which comparison.</param>
/// <param name="Argument">What follows the command: a part of a shape's name, a variant of a model.</param>
/// <param name="Sequential">One candidate after the other instead of taking turns.</param>
/// <param name="Only">The candidates wanted; empty for all.</param>
/// <param name="BeforeProgram">Another build of this program, the candidate "before"; or null.</param>
internal sealed record Options(string Command, string? Argument, bool Sequential, IReadOnlyList<string> Only, string? BeforeProgram)
{
    /// <exception cref="ArgumentException">An option is unknown or lacks its value.</exception>
    public static Options Parse(IReadOnlyList<string> arguments)
    {
        var words = new List<string>();
        var only = new List<string>();
        bool alone = false;
        string? before = null;
        for (int i = 0; i < arguments.Count; i++)
            switch (arguments[i])
            {
                case "--alone": alone = true; break;
                case "--only" when i + 1 < arguments.Count: only.AddRange(arguments[++i].Split(',')); break;
                case "--before" when i + 1 < arguments.Count: before = arguments[++i]; break;
                case var word when word.StartsWith('-'): throw new ArgumentException($"{word}: unknown option, or its value is missing");
                default: words.Add(arguments[i]); break;
            }
        return new Options(words.ElementAtOrDefault(0) ?? "", words.ElementAtOrDefault(1), alone, only, before);
    }

    /// <summary>Whether a candidate takes part.</summary>
    public bool Wants(string candidate) => candidate == Candidate.Before && BeforeProgram is null ? false : Only.Count == 0 || Only.Contains(candidate);
}
