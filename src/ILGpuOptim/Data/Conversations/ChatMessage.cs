namespace ILGpuOptim.Data.Conversations;

/// <summary>A message of a conversation.</summary>
/// <param name="Role">Who wrote it: <c>system</c>, <c>user</c> or <c>assistant</c>, or another role that the model's template knows.</param>
/// <param name="Content">The text.</param>
public sealed record ChatMessage(string Role, string Content)
{
    /// <summary>The role whose messages a model writes.</summary>
    public const string Assistant = "assistant";

    /// <summary>True for a message of the assistant.</summary>
    internal bool IsAnswer => Role == Assistant;
}
