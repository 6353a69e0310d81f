namespace ILGpuOptim.Data.Tokenization;

/// <summary>A trie over UTF-16 code units that maps texts to values. Memory is linear in the total length of the texts.</summary>
internal sealed class Trie
{
    /// <summary>The node of the empty text.</summary>
    public const int Root = 0;

    private readonly Dictionary<ulong, int> children = [];
    private readonly List<int> values = [-1];

    /// <summary>The number of nodes. Nodes are numbered from 0; a node's number is above its parent's.</summary>
    public int Nodes => values.Count;

    /// <summary>Parents, code units and nodes, in the order in which the nodes were added.</summary>
    public IEnumerable<(int Parent, char Unit, int Node)> Edges => children.Select(child => ((int)(child.Key >> 16), (char)child.Key, child.Value));

    /// <summary>Adds a text, or replaces its value.</summary>
    /// <param name="text">The code units of the text.</param>
    /// <param name="value">The value, at least 0.</param>
    public void Add(IEnumerable<char> text, int value)
    {
        int node = Root;
        foreach (char unit in text)
        {
            ulong key = Key(node, unit);
            if (!children.TryGetValue(key, out int child))
            {
                children[key] = child = values.Count;
                values.Add(-1);
            }

            node = child;
        }

        values[node] = value;
    }

    /// <summary>The child of a node, or −1.</summary>
    public int Child(int node, char unit) => children.TryGetValue(Key(node, unit), out int child) ? child : -1;

    /// <summary>The value of a node's text, or −1.</summary>
    public int ValueOf(int node) => values[node];

    /// <summary>The longest non-empty text of the trie that is a prefix of a text.</summary>
    /// <returns>Its value and length; (−1, 0) if there is none.</returns>
    public (int Value, int Length) Longest(ReadOnlySpan<char> text)
    {
        (int Value, int Length) longest = (-1, 0);
        int node = Root;
        for (int i = 0; i < text.Length && (node = Child(node, text[i])) >= 0; i++)
        {
            if (values[node] >= 0)
                longest = (values[node], i + 1);
        }

        return longest;
    }

    private static ulong Key(int node, char unit) => ((ulong)(uint)node << 16) | unit;
}
