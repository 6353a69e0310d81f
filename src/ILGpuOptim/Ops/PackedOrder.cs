namespace ILGpuOptim.Ops;

/// <summary>The order of queries, keys and values in one matrix.</summary>
public enum PackedOrder
{
    /// <summary>All queries, then all keys, then all values.</summary>
    Sections,

    /// <summary>Head by head: its query, its key, its value (GPT-NeoX).</summary>
    Heads,
}
