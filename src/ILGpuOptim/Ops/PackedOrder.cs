namespace ILGpuOptim.Ops;

/// <summary>How one matrix holds queries, keys and values.</summary>
public enum PackedOrder
{
    /// <summary>All queries, then all keys, then all values.</summary>
    Sections,

    /// <summary>Head by head: its query, its key, its value (GPT-NeoX).</summary>
    Heads,
}
