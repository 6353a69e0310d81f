using ILGpuOptim.Compute;
using ILGpuOptim.Models;

namespace ILGpuOptim.Generation;

/// <summary>A token that was drawn.</summary>
/// <param name="Sample">The number of its text.</param>
/// <param name="Id">The token.</param>
/// <param name="LogProbability">The logarithm of its probability before anything was excluded; NaN unless it is wanted.</param>
public readonly record struct GeneratedToken(int Sample, int Id, double LogProbability);

/// <summary>
/// Continues texts with a model. Keys and values are kept, so that a token costs one pass over the weights; a text that grows longer
/// than the model's positions goes on as <see cref="ContextWindow"/> says.
/// </summary>
public sealed class TextGenerator
{
    private readonly LanguageModel model;
    private readonly Device device;

    /// <summary>Prepares for a model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="device">Where it is.</param>
    /// <exception cref="ArgumentException">It is on another device.</exception>
    public TextGenerator(LanguageModel model, Device device)
    {
        model.CheckDevice(device);
        (this.model, this.device) = (model, device);
    }

    /// <summary>Yields tokens one by one.</summary>
    /// <param name="prompt">At least one token.</param>
    /// <param name="count">How many tokens to add.</param>
    /// <param name="options">How to draw.</param>
    /// <exception cref="UserException">The prompt is empty or has ids that the model does not know, or an option means nothing.</exception>
    public IEnumerable<int> Continue(IReadOnlyList<int> prompt, int count, SamplingOptions options)
    {
        using GenerationBatch batch = Start([prompt], count, options);
        while (!batch.IsFinished)
        {
            batch.Advance();
            yield return batch.Drawn[0].Id;
        }
    }

    /// <summary>Begins to continue several texts at once; the caller draws and ends them one by one.</summary>
    /// <param name="prompts">At least one token each.</param>
    /// <param name="count">The most tokens to add to each.</param>
    /// <param name="options">How to draw.</param>
    /// <exception cref="UserException">A prompt is empty or has ids that the model does not know, or an option means nothing.</exception>
    public GenerationBatch Start(IReadOnlyList<IReadOnlyList<int>> prompts, int count, SamplingOptions options) =>
        new(model, device, prompts, count, options);

    /// <summary>Begins to continue a text with a decoder that keeps the keys and values of an earlier text; what the two texts begin with is not computed again.</summary>
    /// <param name="prompt">At least one token.</param>
    /// <param name="count">The most tokens to add.</param>
    /// <param name="options">How to draw.</param>
    /// <param name="decoder">A decoder of one sequence with room for the text; it stays usable.</param>
    /// <exception cref="UserException">The prompt is empty or has ids that the model does not know, or an option means nothing.</exception>
    public GenerationBatch Start(IReadOnlyList<int> prompt, int count, SamplingOptions options, Decoder decoder) =>
        new(model, device, [prompt], count, options, decoder);
}
