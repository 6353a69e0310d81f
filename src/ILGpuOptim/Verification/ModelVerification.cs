using System.Text.Json;
using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Verification;

/// <summary>One compared quantity.</summary>
/// <param name="Name">What was compared.</param>
/// <param name="Error">The largest deviation, relative to <paramref name="Bound"/>'s measure.</param>
/// <param name="Bound">The largest error that passes.</param>
/// <param name="Note">Where, or why not.</param>
public sealed record Check(string Name, double Error, double Bound, string? Note = null)
{
    /// <summary>Whether the error is within its bound; NaN never is.</summary>
    public bool Passes => Error <= Bound;
}

/// <summary>
/// Compares a model with recorded results of PyTorch: <c>config.json</c>, <c>model.safetensors</c>,
/// <c>expected.safetensors</c> (logits, loss, gradients, losses of ten AdamW steps, the batch) and <c>expected.json</c>.
/// </summary>
public static class ModelVerification
{
    /// <summary>Relative to a tensor's largest value, for logits and gradients; absolute for losses.</summary>
    public const double Tolerance = 1e-5;

    /// <summary>Runs the model of a folder and compares every quantity.</summary>
    /// <exception cref="UserException">The folder lacks a file, or one is damaged.</exception>
    public static IReadOnlyList<Check> Run(string folder, Device device)
    {
        using LanguageModel model = ModelFiles.Load(folder, device);
        using SafetensorsFile expected = SafetensorsFile.Open(Path.Combine(folder, "expected.safetensors"));
        using JsonDocument json = ReadJson(Path.Combine(folder, "expected.json"));
        var checks = new List<Check>();
        int[] tokens = expected.ReadI32("input_ids"), labels = expected.ReadI32("labels");
        int batch = checked((int)expected["input_ids"].Shape[0]);
        int[] targets = model.TargetsOf(labels, batch);
        var tape = new Tape(device) { IsTraining = false };

        tape.IsRecording = false;
        checks.Add(Compare("logits", model.Logits(tape, tokens, batch).ToArray(), expected.ReadF32("logits")));
        tape.Reset();
        tape.IsRecording = true;
        Tensor loss = model.Loss(tape, tokens, targets, batch);
        tape.Backward(loss);
        checks.Add(new Check("loss", Math.Abs(loss.Item() - expected.ReadF32("loss")[0]), Tolerance));
        foreach (Parameter parameter in model.Parameters)
        {
            var gradient = new float[parameter.Length];
            device.Download(parameter.Gradient!.Value, gradient);
            checks.Add(Compare("grad." + parameter.Name, gradient, expected.ReadF32("grad." + parameter.Name)));
            parameter.ClearGradient();
        }

        tape.Reset();
        Losses(checks, model, tape, tokens, targets, batch, expected.ReadF32("losses"), json.RootElement.GetProperty("adamw"));
        return checks;
    }

    /// <summary>The largest deviation relative to the largest expected value.</summary>
    public static Check Compare(string name, ReadOnlySpan<float> actual, ReadOnlySpan<float> expected)
    {
        if (actual.Length != expected.Length)
            return new Check(name, double.NaN, Tolerance, $"{actual.Length} numbers instead of {expected.Length}");
        double largest = 0, error = 0;
        for (int i = 0; i < actual.Length; i++)
        {
            double difference = Math.Abs((double)actual[i] - expected[i]);
            error = difference <= error ? error : difference;
            largest = Math.Max(largest, Math.Abs(expected[i]));
        }

        return new Check(name, largest == 0 ? error : error / largest, Tolerance);
    }

    private static void Losses(List<Check> checks, LanguageModel model, Tape tape, int[] tokens, int[] targets, int batch, float[] expected, JsonElement settings)
    {
        using var optimizer = new AdamW();
        double[] betas = settings.GetProperty("betas").EnumerateArray().Select(beta => beta.GetDouble()).ToArray();
        var options = new AdamOptions
        {
            LearningRate = settings.GetProperty("lr").GetDouble(),
            Beta1 = betas[0],
            Beta2 = betas[1],
            Epsilon = settings.GetProperty("eps").GetDouble(),
            WeightDecay = settings.GetProperty("weight_decay").GetDouble(),
        };
        foreach (Parameter parameter in model.Parameters)
            optimizer.Add(parameter, parameter.Shape.Count >= 2 ? options : options with { WeightDecay = 0 });
        for (int i = 0; i < expected.Length; i++)
        {
            Tensor loss = model.Loss(tape, tokens, targets, batch);
            tape.Backward(loss);
            checks.Add(new Check($"losses[{i}]", Math.Abs(loss.Item() - expected[i]), Tolerance));
            optimizer.Step();
            foreach (Parameter parameter in model.Parameters)
                parameter.ClearGradient();
            tape.Reset();
        }
    }

    private static JsonDocument ReadJson(string path)
    {
        try
        {
            return JsonDocument.Parse(File.ReadAllText(path));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            throw new UserException($"{path}: {e.Message}", e);
        }
    }
}
