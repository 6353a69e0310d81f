using ILGpuOptim.Compute;
using ILGpuOptim.Generation;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Lab;

/// <summary>One compared quantity.</summary>
/// <param name="Name">What was compared.</param>
/// <param name="Error">The largest error, in the unit of <paramref name="Bound"/>.</param>
/// <param name="Bound">The largest error that passes.</param>
/// <param name="Note">Where, or why not.</param>
public sealed record Check(string Name, double Error, double Bound, string? Note = null)
{
    /// <summary>True if nothing was compared, for the reason in <see cref="Note"/>.</summary>
    public bool IsSkipped { get; init; }

    /// <summary>True if the error is within its bound. NaN and skipped checks do not pass.</summary>
    public bool Passes => !IsSkipped && Error <= Bound;
}

/// <summary>
/// Compares a model with recorded results of PyTorch: <c>config.json</c>, <c>model.safetensors</c>,
/// <c>expected.safetensors</c> (logits, loss, gradients, losses of ten AdamW steps, the batch) and <c>expected.json</c>.
/// </summary>
internal static class ModelVerification
{
    /// <summary>Relative to a tensor's largest value, for logits and gradients; absolute for losses.</summary>
    public const double Tolerance = 1e-5;

    /// <summary>Runs the model of a folder and compares every quantity.</summary>
    /// <exception cref="UserException">The folder lacks a file, or one is damaged.</exception>
    public static IReadOnlyList<Check> Run(string folder, Device device)
    {
        using var golden = new ModelGolden(folder);
        using LanguageModel model = ModelFiles.Load(folder, device);
        var checks = new List<Check>();
        int[] targets = model.TargetsOf(golden.Labels, golden.Batch);
        using var tape = new Tape(device) { IsTraining = false };

        tape.IsRecording = false;
        try
        {
            checks.Add(Compare("logits", model.Logits(tape, golden.Inputs).ToArray(), golden.Logits));
        }
        catch (ArgumentException e)
        {
            throw new UserException($"{Path.Combine(folder, "expected.safetensors")}: {e.Message.ReplaceLineEndings(" ").TrimEnd('.')}; the batch does not fit the model of config.json", e);
        }

        tape.Reset();
        tape.IsRecording = true;
        LossParts loss = model.Losses(tape, golden.Inputs, targets);
        if (golden.CrossEntropy is { } crossEntropy)
            checks.Add(new Check("cross_entropy", Math.Abs(loss.CrossEntropy.Item() - crossEntropy), Tolerance));
        if (golden.RouterLoss is { } routerLoss)
            checks.Add(loss.Router is { } router ? new Check("aux_loss", Math.Abs(router.Item() - routerLoss), Tolerance) : new Check("aux_loss", double.NaN, Tolerance, "the model's loss has no such part"));
        tape.Backward(loss.Total);
        checks.Add(new Check("loss", Math.Abs(loss.Total.Item() - golden.Loss), Tolerance));
        double noise = Math.ScaleB(golden.Parameters.Max(name => Largest(golden.Gradient(name))), -24) * Math.Sqrt(golden.Inputs.Tokens.Length);
        foreach (Parameter parameter in model.Parameters)
        {
            var gradient = new float[parameter.Length];
            device.Download(tape.Gradients[parameter], gradient);
            checks.Add(CompareGradient("grad." + parameter.Name, gradient, golden.Gradient(parameter.Name), noise));
        }

        tape.Gradients.Clear();
        foreach (string name in golden.Parameters.Except(model.Parameters.Select(parameter => parameter.Name)))
        {
            checks.Add(model.Config.IgnoredTensors.Contains(name)
                ? new Check("grad." + name, Largest(golden.Gradient(name)), 0, "the model does not use this tensor")
                : new Check("grad." + name, double.NaN, Tolerance, "the model has no such parameter"));
        }

        tape.Reset();
        if (golden.Prompt.Length > 0)
        {
            checks.Add(Same("generation", [.. new TextGenerator(model, device).Continue(golden.Prompt, golden.Continuation.Length, new SamplingOptions { Temperature = 0 })], golden.Continuation));
            checks.Add(Same("generation without a cache", Continue(model, tape, golden), golden.Continuation));
        }

        Losses(checks, golden, model, tape, targets);
        return checks;
    }

    /// <summary>Greedy decoding with a full forward pass for each token.</summary>
    private static int[] Continue(LanguageModel model, Tape tape, ModelGolden golden)
    {
        List<int> ids = model.HasEncoder ? [model.StartToken] : [.. golden.Prompt];
        int before = ids.Count;
        tape.IsRecording = false;
        for (int i = 0; i < golden.Continuation.Length; i++)
        {
            int[] window = [.. ids.Skip(ContextWindow.Start(ids.Count, model.Config.ContextLength))];
            Tensor logits = model.LogitsOf(tape, model.HasEncoder ? new TokenBatch(golden.Prompt, 1) { DecoderTokens = window } : new TokenBatch(window, 1), [window.Length - 1]);
            ids.Add(Samplers.ArgMax(logits.ToArray()));
            tape.Reset();
        }

        tape.IsRecording = true;
        return [.. ids.Skip(before)];
    }

    /// <summary>Counts the tokens that differ.</summary>
    private static Check Same(string name, int[] actual, int[] expected)
    {
        int first = actual.AsSpan().CommonPrefixLength(expected), different = expected.Where((id, i) => i >= actual.Length || actual[i] != id).Count();
        return new Check(name, different, 0, different == 0 ? null : $"token {first} is {(first < actual.Length ? actual[first] : "missing")} instead of {expected[first]}");
    }

    /// <summary>The largest error relative to the largest expected value.</summary>
    public static Check Compare(string name, ReadOnlySpan<float> actual, ReadOnlySpan<float> expected)
    {
        if (actual.Length != expected.Length)
            return new Check(name, double.NaN, Tolerance, $"{actual.Length} elements instead of {expected.Length}");
        double largest = 0, error = 0;
        for (int i = 0; i < actual.Length; i++)
        {
            double difference = Math.Abs((double)actual[i] - expected[i]);

            // Math.Max propagates NaN.
            error = Math.Max(error, difference);
            largest = Math.Max(largest, Math.Abs(expected[i]));
        }

        return new Check(name, largest == 0 ? error : error / largest, Tolerance);
    }

    /// <summary>
    /// As <see cref="Compare"/>, but a gradient that is zero in mathematics (that of a key's bias: softmax does not see
    /// it) is rounding noise on both sides. It agrees when both lie below the noise of a sum over all tokens: one rounding of the model's largest
    /// gradient for each token, in random directions.
    /// </summary>
    private static Check CompareGradient(string name, float[] actual, float[] expected, double noise)
    {
        return actual.Length == expected.Length && Largest(actual) <= noise && Largest(expected) <= noise
            ? new Check(name, 0, Tolerance, "zero but for rounding")
            : Compare(name, actual, expected);
    }

    private static double Largest(float[] values)
    {
        double largest = 0;
        foreach (float value in values)
            largest = Math.Max(largest, Math.Abs((double)value));
        return largest;
    }

    private static void Losses(List<Check> checks, ModelGolden golden, LanguageModel model, Tape tape, int[] targets)
    {
        using var optimizer = new AdamW();
        foreach (Parameter parameter in model.Parameters)
            optimizer.Add(parameter, parameter.Shape.Count >= 2 ? golden.Options : golden.Options with { WeightDecay = 0 });
        for (int i = 0; i < golden.Losses.Length; i++)
        {
            Tensor loss = model.Loss(tape, golden.Inputs, targets);
            tape.Backward(loss);
            checks.Add(new Check($"losses[{i}]", Math.Abs(loss.Item() - golden.Losses[i]), Tolerance));
            optimizer.Step(tape.Gradients);
            tape.Gradients.Clear();
            tape.Reset();
        }
    }
}
