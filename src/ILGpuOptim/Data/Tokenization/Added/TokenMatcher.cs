namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// Finds non-overlapping tokens in a text by leftmost-longest matching. Uses the Aho–Corasick automaton (CACM 1975) of the reversed
/// tokens: reading the text from its end yields the longest token that begins at each position, so time is linear in the text for any
/// set of tokens.
/// </summary>
internal sealed class TokenMatcher
{
    private readonly IReadOnlyList<string> tokens;
    private readonly Trie reversed = new();
    private readonly int[] fallback, longest;

    /// <summary>Builds the automaton. Time and memory are linear in the length of the tokens.</summary>
    /// <param name="tokens">Non-empty tokens; the first of equal tokens is found.</param>
    public TokenMatcher(IReadOnlyList<string> tokens)
    {
        this.tokens = tokens;
        for (int i = tokens.Count - 1; i >= 0; i--)
            reversed.Add(tokens[i].Reverse(), i);

        int nodes = reversed.Nodes;
        int[] parents = new int[nodes], depths = new int[nodes], order = new int[nodes];
        char[] units = new char[nodes];
        foreach ((int parent, char unit, int node) in reversed.Edges)
            (parents[node], units[node]) = (parent, unit);
        for (int node = 1; node < nodes; node++)
            (depths[node], order[node]) = (depths[parents[node]] + 1, node);
        Array.Sort(depths, order);

        fallback = new int[nodes];
        longest = new int[nodes];
        longest[Trie.Root] = -1;
        foreach (int node in order.AsSpan(1))
        {
            fallback[node] = parents[node] == Trie.Root ? Trie.Root : Next(fallback[parents[node]], units[node]);
            longest[node] = reversed.ValueOf(node) is >= 0 and var token ? token : longest[fallback[node]];
        }
    }

    /// <summary>The tokens in a text, in order: the start and index of each.</summary>
    public List<(int Start, int Token)> Find(string text)
    {
        var found = new List<(int Start, int Token)>();
        if (tokens.Count == 0)
            return found;
        int state = Trie.Root;
        for (int i = text.Length - 1; i >= 0; i--)
        {
            state = Next(state, text[i]);
            if (longest[state] >= 0)
                found.Add((i, longest[state]));
        }

        found.Reverse();
        int end = 0;
        found.RemoveAll(match =>
        {
            if (match.Start < end)
                return true;
            end = match.Start + tokens[match.Token].Length;
            return false;
        });
        return found;
    }

    private int Next(int state, char unit)
    {
        int next;
        while ((next = reversed.Child(state, unit)) < 0 && state != Trie.Root)
            state = fallback[state];
        return Math.Max(next, Trie.Root);
    }
}
