using ILGpuOptim.Compute;
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
    public static EvaluationResult Run(LanguageModel model, Device device, ReadOnlySpan<ushort> tokens, long? bytes, int batch = 8)
    {
        if (tokens.Length < 2)
            throw new UserException("there are fewer than two tokens to evaluate; give more text");
        int block = Math.Min(model.Config.Positions, tokens.Length - 1);
        var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        var inputs = new int[batch * block];
        var targets = new int[batch * block];
        double sum = 0;
        for (long start = 0; start < tokens.Length - 1; start += inputs.Length)
        {
            int counted = (int)Math.Min(inputs.Length, tokens.Length - 1 - start);
            for (int i = 0; i < inputs.Length; i++)
            {
                inputs[i] = i < counted ? tokens[(int)start + i] : 0;
                targets[i] = i < counted ? tokens[(int)start + i + 1] : -1;
            }

            sum += model.Loss(tape, inputs, targets, batch).Item() * (double)counted;
            tape.Reset();
        }

        long predicted = tokens.Length - 1;
        return new EvaluationResult(predicted, sum / predicted, bytes > 0 ? sum / Math.Log(2) / bytes : null);
    }
}
