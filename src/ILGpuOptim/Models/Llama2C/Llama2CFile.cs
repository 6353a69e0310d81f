using System.Runtime.InteropServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>
/// Checkpoints of llama2.c in its legacy format: a header, then all weights as f32, each kind for all layers together. llama2.c
/// rotates neighbouring elements of a head, Hugging Face's layout elements i and i + size/2, so the
/// rows of query and key projections lie in another order. Weights go there and back bit for bit.
/// </summary>
public static class Llama2CFile
{
    /// <summary>ε of llama2.c's RMSNorm, which the file does not hold.</summary>
    internal const float NormEpsilon = 1e-5f;

    /// <summary>The base of llama2.c's rotary frequencies, which the file does not hold.</summary>
    private const double Theta = 10000;

    /// <summary>Reads a checkpoint.</summary>
    /// <exception cref="UserException">The file cannot be read, or is none.</exception>
    public static LanguageModel Import(string path, Device device)
    {
        try
        {
            using FileStream file = SourceFile.Open(path);
            var bytes = new byte[Llama2CHeader.Bytes];
            Llama2CHeader header = Llama2CHeader.Read(bytes.AsSpan(0, file.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false)), file.Length, path);
            var model = new Transformer(Config(header), new Initializer(device, 0));
            Walk(model, (parameter, heads) =>
            {
                if (parameter is null)
                {
                    file.Seek(AngleFloats(header) * sizeof(float), SeekOrigin.Current);
                    return;
                }

                var values = new float[parameter.Length];
                file.ReadExactly(MemoryMarshal.AsBytes(values.AsSpan()));
                parameter.Load(heads == 0 ? values : Reorder(values, heads, header.HiddenSize, toHalves: true));
            });
            return model;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{path}: {e.Message}", e);
        }
    }

    /// <summary>Writes a checkpoint; the file appears whole or not at all.</summary>
    /// <exception cref="UserException">llama2.c cannot run the model, or the file cannot be written.</exception>
    public static void Export(LanguageModel model, string path)
    {
        var config = (LlamaConfig)model.Config;
        Require(config.SizeOfHead * config.Heads == config.HiddenSize, $"head_dim = {config.SizeOfHead}", "heads that together are as wide as the model");
        Require(!config.AttentionBias && !config.MlpBias, "attention_bias or mlp_bias", "no biases");
        Require(config.Theta == Theta && (config.Scaling?.Kind ?? config.Scaling?.OldKind ?? "default") == "default", $"rope_theta = {config.Theta} or rope_scaling", $"a rope_theta of {Theta} without scaling");
        Require(config.Activation is "silu" or "swish", $"hidden_act = \"{config.Activation}\"", "\"silu\"");
        Require(config.NormEpsilon == NormEpsilon, $"rms_norm_eps = {config.NormEpsilon}", $"an rms_norm_eps of {NormEpsilon}");
        var header = new Llama2CHeader(config.HiddenSize, config.IntermediateSize, config.Layers, config.Heads, config.KeyHeadCount, config.VocabularySize, config.ContextLength, config.TieWordEmbeddings);
        Require(AngleFloats(header) <= Array.MaxLength, $"max_position_embeddings = {config.ContextLength}", "tables of angles for fewer positions");
        try
        {
            using var file = new AtomicFile(path);
            file.Stream.Write(header.ToBytes());
            Walk(model, (parameter, heads) =>
            {
                float[] values = parameter is null ? Angles(model, header) : parameter.ToArray();
                file.Stream.Write(MemoryMarshal.AsBytes((heads == 0 ? values : Reorder(values, heads, header.HiddenSize, toHalves: false)).AsSpan()));
            });
            file.Finish();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{path}: {e.Message}", e);
        }
    }

    private static void Require(bool holds, string has, string needs)
    {
        if (!holds)
            throw new UserException($"config.json: {has} cannot be exported, because llama2.c has {needs}; train a model with that (the preset llama-char, or a config.json that has it)");
    }

    private static LlamaConfig Config(Llama2CHeader header) => new()
    {
        VocabularySize = header.VocabularySize,
        HiddenSize = header.HiddenSize,
        IntermediateSize = header.IntermediateSize,
        Layers = header.Layers,
        Heads = header.Heads,
        KeyHeads = header.KeyHeads,
        ContextLength = header.ContextLength,
        NormEpsilon = NormEpsilon,
        RopeTheta = Theta,
        TieWordEmbeddings = header.TieWordEmbeddings,
    };

    /// <summary>
    /// Visits the parameters in the file's order, each with the number of heads whose rows are reordered, or 0; null stands for the
    /// tables of angles.
    /// </summary>
    private static void Walk(LanguageModel model, Action<Parameter?, int> visit)
    {
        var config = (LlamaConfig)model.Config;
        Dictionary<string, Parameter> parameters = model.Parameters.ToDictionary(parameter => parameter.Name);
        void Layers(string part, int heads = 0)
        {
            for (int layer = 0; layer < config.Layers; layer++)
                visit(parameters[$"model.layers.{layer}.{part}.weight"], heads);
        }

        visit(parameters["model.embed_tokens.weight"], 0);
        Layers("input_layernorm");
        Layers("self_attn.q_proj", config.Heads);
        Layers("self_attn.k_proj", config.KeyHeadCount);
        Layers("self_attn.v_proj");
        Layers("self_attn.o_proj");
        Layers("post_attention_layernorm");
        Layers("mlp.gate_proj");
        Layers("mlp.down_proj");
        Layers("mlp.up_proj");
        visit(parameters["model.norm.weight"], 0);
        visit(null, 0);
        if (!config.TieWordEmbeddings)
            visit(parameters["lm_head.weight"], 0);
    }

    /// <summary>Takes the rows of each head from neighbours (0, 1), (2, 3), … to halves (0, size/2), (1, size/2 + 1), …, or back.</summary>
    private static float[] Reorder(float[] rows, int heads, int columns, bool toHalves)
    {
        int size = rows.Length / columns / heads, half = size / 2;
        var result = new float[rows.Length];
        for (int head = 0; head < heads; head++)
        {
            for (int i = 0; i < size; i++)
            {
                int neighbour = head * size + i, place = head * size + i / 2 + i % 2 * half;
                (int source, int target) = toHalves ? (neighbour, place) : (place, neighbour);
                rows.AsSpan(source * columns, columns).CopyTo(result.AsSpan(target * columns));
            }
        }

        return result;
    }

    private static long AngleFloats(Llama2CHeader header) => (long)header.ContextLength * (header.HeadSize / 2) * 2;

    /// <summary>Cosines of all positions, then sines: old versions of llama2.c read them, newer ones pass them over.</summary>
    private static float[] Angles(LanguageModel model, Llama2CHeader header)
    {
        int half = header.HeadSize / 2;
        var rows = new float[AngleFloats(header)];
        new RotaryAngles(((LlamaConfig)model.Config).Describe().Blocks[0].Attention.Rotary!).Write([.. Enumerable.Range(0, header.ContextLength)], rows);
        var result = new float[rows.Length];
        for (int position = 0; position < header.ContextLength; position++)
        {
            Span<float> row = rows.AsSpan(position * header.HeadSize, header.HeadSize);
            row[..half].CopyTo(result.AsSpan(position * half));
            row[half..].CopyTo(result.AsSpan((header.ContextLength + position) * half));
        }

        return result;
    }
}
