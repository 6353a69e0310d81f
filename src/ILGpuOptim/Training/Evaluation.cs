using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Models;

namespace ILGpuOptim.Training;

/// <summary>How well a model predicts a text.</summary>
/// <param name="Tokens">Predicted tokens.</param>
/// <param name="Loss">Nats a token.</param>
/// <param name="BitsPerByte">Bits for each byte of the text; null when its bytes are not known.</param>
public sealed record EvaluationResult(long Tokens, double Loss, double? BitsPerByte)
{
    /// <summary>e to the loss.</summary>
    public double Perplexity => Math.Exp(Loss);
}

/// <summary>Measures a model on the whole of a text, window by window.</summary>
public static class Evaluation
{
    /// <summary>Predicts each token but the first, given those before it in its window.</summary>
    /// <param name="model">The model.</param>
    /// <param name="device">Where it is.</param>
    /// <param name="tokens">At least two.</param>
    /// <param name="bytes">The text's bytes, if known.</param>
    /// <param name="batch">Windows at once.</param>
    /// <param name="stride">From one window to the next; 0 means windows that do not overlap.</param>
    /// <exception cref="UserException">There are fewer than two tokens, or the stride makes no sense.</exception>
    public static EvaluationResult Run(LanguageModel model, Device device, TokenSequence tokens, long? bytes, int batch = 8, int stride = 0)
    {
        int block = (int)Math.Min(model.Config.Positions, Math.Max(1, tokens.Length - 1));
        var windows = new SequentialWindows(tokens, block, stride);
        var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        var inputs = new int[batch * block];
        var targets = new int[batch * block];
        double sum = 0;
        for (long window = 0; window < windows.Count; window += batch)
        {
            int counted = 0;
            for (int row = 0; row < batch; row++)
                counted += windows.Fill(window + row, inputs.AsSpan(row * block), targets.AsSpan(row * block));
            sum += model.Loss(tape, inputs, targets, batch).Item() * (double)counted;
            tape.Reset();
        }

        return new EvaluationResult(windows.Targets, sum / windows.Targets, bytes > 0 ? sum / Math.Log(2) / bytes : null);
    }
}
