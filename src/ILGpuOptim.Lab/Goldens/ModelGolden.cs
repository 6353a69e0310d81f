using System.Text.Json;
using ILGpuOptim.Files;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Lab;

/// <summary>
/// Recorded results of PyTorch for one model: a folder with <c>config.json</c>, <c>model.safetensors</c>,
/// <c>expected.safetensors</c> (the batch, its logits, loss, gradients and the losses of some AdamW steps on it) and
/// <c>expected.json</c> (the settings of those steps).
/// </summary>
internal sealed class ModelGolden : IDisposable
{
    private static readonly string[] Known =
    [
        "input_ids", "labels", "token_type_ids", "attention_mask", "position_ids", "document_ids", "decoder_input_ids",
        "logits", "loss", "losses", "cross_entropy", "aux_loss", "generation.prompt", "generation.ids",
    ];

    /// <summary>The fields of <c>expected.json</c>. Only those of <c>adamw</c> are read; the others repeat tensors or are notes.</summary>
    private static readonly string[] KnownFields =
    [
        "adamw", "adamw.lr", "adamw.betas", "adamw.eps", "adamw.weight_decay", "adamw.decayed", "loss", "losses", "cross_entropy", "aux_loss",
        "generation", "generation.prompt", "generation.ids", "generation.smallest_lead", "router_margin", "note",
    ];

    /// <summary>The only rule of weight decay that is replayed.</summary>
    private const string Decayed = "tensors of two or more dimensions";

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
            CheckFields(settings, json.RootElement);
            Options = ReadOptions(settings, json.RootElement.GetProperty("adamw"));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw new UserException($"{settings}: not the settings of a recorded model: {e.Message}; name a folder of recorded results", e);
        }

        expected = SafetensorsFile.Open(Path.Combine(folder, "expected.safetensors"));
        try
        {
            Tokens = expected.ReadI32("input_ids");
            Labels = expected.ReadI32("labels");
            Segments = Optional("token_type_ids", "input_ids");
            Mask = Optional("attention_mask", "input_ids");
            Positions = Optional("position_ids", "input_ids");
            Documents = Optional("document_ids", "input_ids");
            DecoderTokens = Optional("decoder_input_ids", "labels");
            if (expected["input_ids"].Shape is not [var rows, > 0] || expected["labels"].Shape is not [var labelRows, > 0] || rows != labelRows || (DecoderTokens.Length == 0 && Labels.Length != Tokens.Length))
                throw new SafetensorsException($"{expected.Path}: input_ids and labels are no batch of rows; the file is not one of recorded results");
            Batch = (int)rows;
            Loss = Scalar("loss");
            CrossEntropy = expected.Tensors.ContainsKey("cross_entropy") ? Scalar("cross_entropy") : null;
            RouterLoss = expected.Tensors.ContainsKey("aux_loss") ? Scalar("aux_loss") : null;
            Losses = expected.ReadF32("losses");
            Prompt = Optional("generation.prompt", null);
            Continuation = Optional("generation.ids", null);
            CheckNames();
        }
        catch
        {
            expected.Dispose();
            throw;
        }
    }

    /// <summary>The folder of the files; <see cref="ModelFiles.Load"/> reads the model from it.</summary>
    public string Folder { get; }

    /// <summary>The batch, row by row.</summary>
    public int[] Tokens { get; }

    /// <summary>Of each position: its token for causal models, which shift by one; for masked ones the token hidden there, or -100.</summary>
    public int[] Labels { get; }

    /// <summary>The segment of each token; empty when all are in the first.</summary>
    public int[] Segments { get; }

    /// <summary>0 where a position is padding; empty when there is none.</summary>
    public int[] Mask { get; }

    /// <summary>The position of each token; empty when each sequence counts from 0.</summary>
    public int[] Positions { get; }

    /// <summary>The document number of each token; empty if each sequence is one document.</summary>
    public int[] Documents { get; }

    /// <summary>The decoder's input tokens; empty for models without an encoder.</summary>
    public int[] DecoderTokens { get; }

    /// <summary>The model's input.</summary>
    public TokenBatch Inputs => new(Tokens, Batch) { Segments = Segments, Mask = Mask, Positions = Positions, Documents = Documents, DecoderTokens = DecoderTokens };

    /// <summary>Rows of the batch.</summary>
    public int Batch { get; }

    /// <summary>The mean loss before the first step, in nats.</summary>
    public float Loss { get; }

    /// <summary>The cross-entropy term of <see cref="Loss"/>; null if it was not recorded.</summary>
    public float? CrossEntropy { get; }

    /// <summary>The routers' load-balancing loss, without its coefficient; null where it was not recorded.</summary>
    public float? RouterLoss { get; }

    /// <summary>The prompt of a greedy continuation, or the encoder's input; empty if none was recorded.</summary>
    public int[] Prompt { get; }

    /// <summary>The tokens that follow the prompt.</summary>
    public int[] Continuation { get; }

    /// <summary>The loss before each step, on the same batch.</summary>
    public float[] Losses { get; }

    /// <summary>AdamW's settings; the decay applies to tensors of two or more dimensions.</summary>
    public AdamOptions Options { get; }

    /// <summary>The logits, tokens × vocabulary size.</summary>
    public float[] Logits => expected.ReadF32("logits");

    /// <summary>The parameters whose gradients were recorded.</summary>
    public IEnumerable<string> Parameters => expected.Tensors.Keys
        .Where(name => name.StartsWith("grad.", StringComparison.Ordinal)).Select(name => name["grad.".Length..]).Order(StringComparer.Ordinal);

    /// <summary>The gradient of a parameter for the batch.</summary>
    public float[] Gradient(string parameter) => expected.ReadF32("grad." + parameter);

    /// <summary>Throws if <c>expected.json</c> has fields that are not known.</summary>
    private static void CheckFields(string path, JsonElement root)
    {
        string[] unknown =
        [
            .. root.EnumerateObject().SelectMany(field => (string[])[field.Name, .. field.Value.ValueKind == JsonValueKind.Object ? field.Value.EnumerateObject().Select(inner => $"{field.Name}.{inner.Name}") : []])
                .Where(name => !KnownFields.Contains(name)).Order(StringComparer.Ordinal),
        ];
        if (unknown.Length > 0)
            throw new UserException($"{path}: {string.Join(", ", unknown)} {(unknown.Length == 1 ? "is" : "are")} not understood; remove {(unknown.Length == 1 ? "this field" : "these fields")}. Known are {string.Join(", ", KnownFields)}");
    }

    /// <summary>Throws if a recorded tensor would not be compared.</summary>
    private void CheckNames()
    {
        string[] unknown = [.. expected.Tensors.Keys.Where(name => !Known.Contains(name) && !name.StartsWith("grad.", StringComparison.Ordinal)).Order(StringComparer.Ordinal)];
        if (unknown.Length > 0)
            throw new SafetensorsException($"{expected.Path}: {string.Join(", ", unknown)} cannot be compared; remove {(unknown.Length == 1 ? "this tensor" : "these tensors")}. Known are {string.Join(", ", Known)} and grad.PARAMETER");
    }

    /// <summary>An optional tensor of integers, of the shape of another.</summary>
    private int[] Optional(string name, string? like)
    {
        if (!expected.Tensors.ContainsKey(name))
            return [];
        if (like is not null && !expected[name].Shape.SequenceEqual(expected[like].Shape))
            throw new SafetensorsException($"{expected.Path}: {name} has not the shape of {like}; the file is not one of recorded results");
        return expected.ReadI32(name);
    }

    private float Scalar(string name) => expected.ReadF32(name) is [float value]
        ? value
        : throw new SafetensorsException($"{expected.Path}: {name} is no single number; the file is not one of recorded results");

    private static AdamOptions ReadOptions(string path, JsonElement settings)
    {
        if (settings.TryGetProperty("decayed", out JsonElement decayed) && !(decayed.ValueKind == JsonValueKind.String && decayed.ValueEquals(Decayed)))
            throw new UserException($"{path}: adamw.decayed = {decayed.GetRawText()} is not supported; it must be \"{Decayed}\"");
        double[] betas = [.. settings.GetProperty("betas").EnumerateArray().Select(beta => beta.GetDouble())];
        if (betas.Length != 2)
            throw new UserException($"{path}: adamw.betas must have 2 values, not {betas.Length}");
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
