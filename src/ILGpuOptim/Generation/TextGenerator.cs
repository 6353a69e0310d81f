using ILGpuOptim.Compute;
using ILGpuOptim.Models;

namespace ILGpuOptim.Generation;

/// <summary>How the next token is drawn.</summary>
public sealed record SamplingOptions
{
    /// <summary>Divides the logits; 0 always takes the likeliest token.</summary>
    public double Temperature { get; init; } = 0.8;

    /// <summary>Draws among this many likeliest tokens; 0 among all.</summary>
    public int TopK { get; init; }

    /// <summary>Repeats the same text.</summary>
    public ulong Seed { get; init; } = 1;
}

/// <summary>Continues a sequence of tokens with a model.</summary>
/// <param name="model">The model.</param>
/// <param name="device">Where it is.</param>
public sealed class TextGenerator(LanguageModel model, Device device)
{
    private readonly Tape tape = new(device) { IsRecording = false, IsTraining = false };

    /// <summary>Yields tokens one by one. The model sees its last positions when the text grows longer than they are.</summary>
    /// <param name="prompt">At least one token.</param>
    /// <param name="count">How many tokens to add.</param>
    /// <param name="options">How to draw.</param>
    public IEnumerable<int> Continue(IReadOnlyList<int> prompt, int count, SamplingOptions options)
    {
        if (prompt.Count == 0)
            throw new UserException("an empty prompt gives the model nothing to go on; give at least one character");
        var context = new List<int>(prompt);
        for (int i = 0; i < count; i++)
        {
            int next = Draw(Logits(context), options, (ulong)i);
            context.Add(next);
            yield return next;
        }
    }

    private float[] Logits(List<int> context)
    {
        int[] seen = [.. context.Skip(Math.Max(0, context.Count - model.Config.Positions))];
        Tensor hidden = model.Hidden(tape, seen, 1);
        int columns = hidden.Columns, vocabulary = model.Config.Vocabulary;
        Block last = hidden.Data.Slice((seen.Length - 1L) * columns, columns), logits = tape.Scratch(vocabulary);
        device.Gemm(new GemmArguments(last, model.Head.Data, logits, 1, vocabulary, columns) { TransposeB = true });
        var result = new float[vocabulary];
        device.Download(logits, result);
        tape.Reset();
        return result;
    }

    private static int Draw(float[] logits, SamplingOptions options, ulong position)
    {
        int[] order = [.. Enumerable.Range(0, logits.Length).OrderByDescending(id => logits[id])];
        if (options.Temperature <= 0)
            return order[0];
        int kept = options.TopK > 0 ? Math.Min(options.TopK, order.Length) : order.Length;
        var weights = new double[kept];
        double sum = 0;
        for (int i = 0; i < kept; i++)
            sum += weights[i] = Math.Exp((logits[order[i]] - logits[order[0]]) / options.Temperature);
        (uint a, uint b, _, _) = Philox.Generate(options.Seed, 0, position);
        double left = ((ulong)a << 32 | b) * (1.0 / 18446744073709551616.0) * sum;
        for (int i = 0; i < kept; i++)
        {
            left -= weights[i];
            if (left < 0)
                return order[i];
        }

        return order[kept - 1];
    }
}
