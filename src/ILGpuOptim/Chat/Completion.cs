using ILGpuOptim.Generation;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Chat;

/// <summary>Options of an answer or a continued text.</summary>
public sealed record CompletionOptions
{
    /// <summary>How tokens are drawn.</summary>
    public SamplingOptions Sampling { get; init; } = new();

    /// <summary>The most tokens of an answer; null: as many as the model's positions hold.</summary>
    [Range(1)]
    public int? MaxTokens { get; init; }

    /// <summary>Strings that end the text; they are not part of it.</summary>
    public IReadOnlyList<string> Stops { get; init; } = [];

    /// <summary>The number of texts for the same prompt, drawn together.</summary>
    [Range(1, 128)]
    public int Count { get; init; } = 1;
}

/// <summary>Why a text ended.</summary>
public enum CompletionEnd
{
    /// <summary>It goes on.</summary>
    None,

    /// <summary>The model ended it, or a stop string was found.</summary>
    Stop,

    /// <summary>It has the most tokens, or fills the model's positions.</summary>
    Length,
}

/// <summary>A part of a text that a model writes.</summary>
/// <param name="Sample">The number of the text.</param>
/// <param name="Text">What is certain now; may be empty.</param>
/// <param name="Token">The token drawn.</param>
/// <param name="End">Why the text ended with this part, if it did.</param>
public readonly record struct CompletionPart(int Sample, string Text, GeneratedToken Token, CompletionEnd End);
