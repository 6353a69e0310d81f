namespace ILGpuOptim.Tasks;

/// <summary>A choice as tokens.</summary>
/// <param name="Context">The tokens before the continuation.</param>
/// <param name="Continuation">The tokens whose probability is measured; at least one.</param>
/// <param name="Length">The length by which the log-probability is divided.</param>
internal sealed record EncodedChoice(int[] Context, int[] Continuation, int Length);

/// <summary>A question as tokens.</summary>
/// <param name="Place">The file and the record, for messages.</param>
/// <param name="Choices">The choices.</param>
/// <param name="Answer">The index of the correct choice.</param>
internal sealed record EncodedItem(string Place, IReadOnlyList<EncodedChoice> Choices, int Answer);
