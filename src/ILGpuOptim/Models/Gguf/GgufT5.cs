using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Models;

/// <summary>
/// T5 in llama.cpp. Its computation has no scale of the decoder's outputs and a largest distance of 128. The scale is put into the decoder's final norm. Other
/// distances get tables with a row for each distance of the context. The original values are kept in the metadata, which llama.cpp does not read.
/// </summary>
internal static class GgufT5
{
    /// <summary>The architecture's name.</summary>
    public const string Name = "t5";

    /// <summary>A tensor of files that were converted elsewhere, which nothing computes with.</summary>
    public const string Unused = "dec.blk.0.cross_attn_rel_b.weight";

    /// <summary>The buckets and the largest distance of the model, where the file's tables have a row for each distance.</summary>
    public const string Buckets = "ilgpuoptim.relative_attention_num_buckets", MaxDistance = "ilgpuoptim.relative_attention_max_distance";

    /// <summary>The largest distance of llama.cpp.</summary>
    public const int Farthest = 128;

    /// <summary>The longest context whose distances have rows of their own.</summary>
    private const int MaxTable = 1 << 15;

    /// <summary>The key of the values from which a tensor was computed.</summary>
    public static string OriginalOf(string tensor) => "ilgpuoptim." + tensor;

    /// <summary>The tensor whose original marks a scale of the decoder's outputs.</summary>
    public const string ScaledNorm = "dec.output_norm.weight";

    /// <summary>Checks a model.</summary>
    /// <exception cref="UserException">llama.cpp computes something else; the message names the field.</exception>
    public static void Check(ModelConfig config, TransformerDescription model)
    {
        if (model.Blocks.Count > model.Encoder!.Blocks.Count)
            throw new UserException($"{config.Family} with num_decoder_layers = {model.Blocks.Count} above num_layers = {model.Encoder.Blocks.Count} cannot be exported to GGUF: llama.cpp does not load a {Name} with more layers in the decoder than in the encoder");
        if (model.MaxPositions > MaxTable && HasDistances(model))
            throw new UserException($"{config.Family} with relative_attention_max_distance = {TableOf(model).MaxDistance} and n_positions = {model.MaxPositions} cannot be exported to GGUF: llama.cpp's largest distance is {Farthest}, and tables of all distances are written up to {MaxTable} positions");
        FeedForwardDescription part = model.Blocks[0].FeedForward;
        Activation? wanted = part.Gate is null ? Activation.Relu : Activation.GeluTanh;
        if (ActivationNames.Find(part.Activation) != wanted)
            throw new UserException($"{config.Family} with the activation \"{part.Activation}\" cannot be exported to GGUF: in llama.cpp's {Name}, {(part.Gate is null ? "layers without gates have relu" : "gated layers have the tanh approximation of gelu (feed_forward_proj = \"gated-gelu\")")}");
    }

    /// <summary>True if the head is the token embedding, without a scale: files without a head are scaled, so this one gets a copy.</summary>
    public static bool NeedsHead(TransformerDescription model) => model.Encoder is not null && model.Head.Projection is null && model.Head.Scale == 1;

    /// <summary>
    /// The rows of both stacks' tables of relative positions. Of a row for each distance, the encoder has a quarter for each side within the context; llama.cpp
    /// divides by zero if that is its largest distance.
    /// </summary>
    public static int RowCount(TransformerDescription model) => HasDistances(model) ? 4 * (model.MaxPositions == Farthest ? Farthest + 1 : model.MaxPositions) : TableOf(model).Buckets;

    /// <summary>True if llama.cpp puts a distance into another bucket, so that the file's tables have a row for each distance.</summary>
    public static bool HasDistances(TransformerDescription model)
    {
        return Differs(TableOf(model)) || Differs(TableOf(model.Encoder!));

        static bool Differs(RelativeBiasDescription table)
        {
            RelativeBias bias = BiasOf(table);
            int farthest = Math.Max(table.MaxDistance, Farthest);
            return Enumerable.Range(-farthest, 2 * farthest + 1).Any(distance => bias.BucketOf(distance) != BucketOf(distance, table.Buckets, table.IsBidirectional));
        }
    }

    /// <summary>The tensors in the order of the file.</summary>
    public static IEnumerable<GgufTensor> Tensors(TransformerDescription model)
    {
        int width = model.HiddenSize;
        string tokens = model.Embedding.Tokens + ".weight";
        yield return new("token_embd.weight", [model.VocabularySize, width], tokens) { IsMatrix = true };
        foreach ((string prefix, TransformerDescription stack) in new[] { ("enc.", model.Encoder!), ("dec.", model) })
        {
            yield return Bias(model, stack, prefix + "blk.0.attn_rel_b.weight");
            for (int i = 0; i < stack.Blocks.Count; i++)
            {
                foreach (GgufTensor tensor in Block($"{prefix}blk.{i}.", stack.Blocks[i], width))
                    yield return tensor;
            }

            float scale = stack == model ? model.Head.Scale : 1;
            yield return new($"{prefix}output_norm.weight", [width], stack.FinalNorm!.Name + ".weight") { Factor = scale, KeepsOriginal = scale != 1 };
        }

        if (model.Head.Projection is not null || NeedsHead(model))
            yield return new("output.weight", [model.VocabularySize, width], model.Head.Projection is { } head ? head.Name + ".weight" : tokens) { IsMatrix = true };
    }

    private static RelativeBiasDescription TableOf(TransformerDescription stack) => stack.Blocks[0].Attention.RelativeBias!;

    private static RelativeBias BiasOf(RelativeBiasDescription table)
    {
        using var device = new DryDevice();
        return new RelativeBias(new Initializer(device, 0), table, 1);
    }

    private static GgufTensor Bias(TransformerDescription model, TransformerDescription stack, string name)
    {
        RelativeBiasDescription table = TableOf(stack);
        int count = RowCount(model), heads = stack.Blocks[0].Attention.Heads, half = table.IsBidirectional ? count / 2 : count;
        if (!HasDistances(model))
            return new(name, [count, heads], table.Name + ".weight");
        RelativeBias bias = BiasOf(table);
        return new(name, [count, heads], table.Name + ".weight")
        {
            Rows = [.. Enumerable.Range(0, count).Select(row => bias.BucketOf(row < half ? -row : row - half))],
            KeepsOriginal = true,
        };
    }

    private static IEnumerable<GgufTensor> Block(string name, BlockDescription block, int width) =>
    [
        .. GgufTensors.OfNorm(name + "attn_norm", block.AttentionNorm, width),
        .. Attention(name + "attn_", block.Attention, width),
        .. block.CrossAttention is { } cross ? GgufTensors.OfNorm(name + "cross_attn_norm", block.CrossAttentionNorm, width).Concat(Attention(name + "cross_attn_", cross, width)) : [],
        .. GgufTensors.OfNorm(name + "ffn_norm", block.FeedForwardNorm, width),
        .. GgufTensors.OfFeedForward(name, block.FeedForward, width),
    ];

    private static IEnumerable<GgufTensor> Attention(string name, AttentionDescription attention, int width)
    {
        int inner = attention.Heads * attention.HeadSize;
        return
        [
            .. GgufTensors.OfProjection(name + "q", attention.Inputs[0], width, inner),
            .. GgufTensors.OfProjection(name + "k", attention.Inputs[1], width, inner),
            .. GgufTensors.OfProjection(name + "v", attention.Inputs[2], width, inner),
            .. GgufTensors.OfProjection(name + "o", attention.Output, inner, width),
        ];
    }

    /// <summary>llama.cpp's bucket of a distance, the key's position minus the query's.</summary>
    private static int BucketOf(int distance, int buckets, bool isBidirectional)
    {
        int half = isBidirectional ? buckets / 2 : buckets, exact = half / 2, away = isBidirectional ? Math.Abs(distance) : Math.Max(-distance, 0);
        int bucket = away < exact ? away : Math.Min(half - 1, (int)MathF.Floor((float)(exact + MathF.Log((float)away / exact) * (half - exact) / Math.Log((double)Farthest / exact))));
        return isBidirectional && distance > 0 ? bucket + half : bucket;
    }
}
