using System.Text.Json;
using ILGpuOptim.Files;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Verification;

/// <summary>
/// Recorded results of PyTorch for one model: a folder with <c>config.json</c>, <c>model.safetensors</c>,
/// <c>expected.safetensors</c> (the batch, its logits, loss, gradients and the losses of some AdamW steps on it) and
/// <c>expected.json</c> (the settings of those steps).
/// </summary>
public sealed class ModelGolden : IDisposable
{
    private readonly SafetensorsFile expected;

    /// <summary>Opens a folder.</summary>
    /// <exception cref="UserException">A file is missing or damaged.</exception>
    public ModelGolden(string folder)
    {
        Folder = folder;
        string settings = Path.Combine(folder, "expected.json");
        try
        {
            using JsonDocument json = JsonDocument.Parse(SourceFile.ReadAllText(settings, JsonFields.MaxFileBytes, "it is no such file"));
            Options = ReadOptions(json.RootElement.GetProperty("adamw"));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException or KeyNotFoundException or InvalidOperationException or IndexOutOfRangeException)
        {
            throw new UserException($"{settings}: not the settings of a recorded model: {e.Message}; name a folder of recorded results", e);
        }

        expected = SafetensorsFile.Open(Path.Combine(folder, "expected.safetensors"));
        try
        {
            Tokens = expected.ReadI32("input_ids");
            Labels = expected.ReadI32("labels");
            Segments = Optional("token_type_ids");
            Mask = Optional("attention_mask");
            if (expected["input_ids"].Shape is not [var rows, > 0] || Labels.Length != Tokens.Length)
                throw new SafetensorsException($"{expected.Path}: input_ids and labels are no batch of rows; the file is not one of recorded results");
            Batch = (int)rows;
            Loss = Scalar("loss");
            Losses = expected.ReadF32("losses");
        }
        catch
        {
            expected.Dispose();
            throw;
        }
    }

    /// <summary>Where the files lie; <see cref="ModelFiles.Load"/> reads the model from there.</summary>
    public string Folder { get; }

    /// <summary>The batch, row by row.</summary>
    public int[] Tokens { get; }

    /// <summary>Of each position: its token for causal models, which shift by one; for masked ones the token hidden there, or -100.</summary>
    public int[] Labels { get; }

    /// <summary>The segment of each token, for BERT; empty when all are in the first.</summary>
    public int[] Segments { get; }

    /// <summary>0 where a position is padding, for BERT; empty when there is none.</summary>
    public int[] Mask { get; }

    /// <summary>What the model reads.</summary>
    public TokenBatch Inputs => new(Tokens, Batch) { Segments = Segments, Mask = Mask };

    /// <summary>Rows of the batch.</summary>
    public int Batch { get; }

    /// <summary>The mean loss before the first step, in nats.</summary>
    public float Loss { get; }

    /// <summary>The loss before each step, on the same batch.</summary>
    public float[] Losses { get; }

    /// <summary>AdamW's settings; the decay applies to tensors of two or more dimensions.</summary>
    public AdamOptions Options { get; }

    /// <summary>The logits: as many rows as tokens, as many columns as the vocabulary.</summary>
    public float[] Logits => expected.ReadF32("logits");

    /// <summary>The parameters whose gradients were recorded.</summary>
    public IEnumerable<string> Parameters => expected.Tensors.Keys
        .Where(name => name.StartsWith("grad.", StringComparison.Ordinal)).Select(name => name["grad.".Length..]).Order(StringComparer.Ordinal);

    /// <summary>The gradient of a parameter for the batch.</summary>
    public float[] Gradient(string parameter) => expected.ReadF32("grad." + parameter);

    private int[] Optional(string name) => expected.Tensors.ContainsKey(name) ? expected.ReadI32(name) : [];

    private float Scalar(string name) => expected.ReadF32(name) is [float value]
        ? value
        : throw new SafetensorsException($"{expected.Path}: {name} is no single number; the file is not one of recorded results");

    private static AdamOptions ReadOptions(JsonElement settings)
    {
        double[] betas = [.. settings.GetProperty("betas").EnumerateArray().Select(beta => beta.GetDouble())];
        return new AdamOptions
        {
            LearningRate = settings.GetProperty("lr").GetDouble(),
            Beta1 = betas[0],
            Beta2 = betas[1],
            Epsilon = settings.GetProperty("eps").GetDouble(),
            WeightDecay = settings.GetProperty("weight_decay").GetDouble(),
        };
    }

    /// <summary>Closes the recorded tensors.</summary>
    public void Dispose() => expected.Dispose();
}
