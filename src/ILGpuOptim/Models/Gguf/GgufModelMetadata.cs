using ILGpuOptim.Files;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>The metadata that describes a model's computation in a GGUF file, and the tensors that hold constants of it.</summary>
/// <param name="config">The configuration.</param>
/// <param name="model">Its transformer.</param>
/// <param name="architecture">Its architecture, fitted to it.</param>
internal sealed class GgufModelMetadata(ModelConfig config, TransformerDescription model, GgufArchitecture architecture)
{
    /// <summary>Tensors of the factors by which frequencies are divided.</summary>
    public const string Divisors = "rope_freqs.weight", LongDivisors = "rope_factors_long.weight", ShortDivisors = "rope_factors_short.weight";

    private readonly List<(string Key, object Value)> values = [];

    /// <summary>The longest sequence for which llama.cpp computes the same: where the architecture has no windows, that of the model's window.</summary>
    public int ContextLength { get; } = architecture.WindowPeriod is null
        ? model.Blocks.Select(block => block.Attention.KeysBefore).OfType<int>().Append(model.MaxPositions - 1).Min() + 1
        : model.MaxPositions;

    private BlockDescription First => model.Blocks[0];

    private AttentionDescription Rotated => (model.Blocks.FirstOrDefault(block => block.Attention is { Rotary: not null, KeysBefore: null }) ?? First).Attention;

    /// <summary>Keys and values, the architecture's name first.</summary>
    public IReadOnlyList<(string Key, object Value)> Values(GgufType type)
    {
        values.Clear();
        values.Add(("general.architecture", architecture.Name));
        values.Add(("general.type", "model"));
        values.Add(("general.name", config.Family));
        values.Add(("general.file_type", type switch { GgufType.F16 => 1u, GgufType.Q4_0 => 2u, GgufType.Q8_0 => 7u, GgufType.BF16 => 32u, _ => 0u }));
        values.Add(("general.quantization_version", 2u));
        AttentionDescription attention = First.Attention;
        Add("vocab_size", (uint)model.VocabularySize);
        Add("context_length", (uint)ContextLength);
        Add("embedding_length", (uint)model.HiddenSize);
        Add("block_count", (uint)(model.Encoder ?? model).Blocks.Count);
        Add("feed_forward_length", (uint)(config is Qwen3MoeConfig dense ? dense.IntermediateSize : First.FeedForward.IntermediateSize));
        Add("attention.head_count", (uint)attention.Heads);
        Add("attention.head_count_kv", (uint)attention.KeyHeads);
        NormDescription norm = model.FinalNorm!;
        Add(norm.Kind == NormKind.LayerNorm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", norm.Epsilon);
        if (!architecture.DividesHeads)
        {
            Add("attention.key_length", (uint)attention.HeadSize);
            Add("attention.value_length", (uint)attention.HeadSize);
        }

        if (First.FeedForward.Experts is { } experts)
        {
            Add("expert_count", (uint)experts.Count);
            Add("expert_used_count", (uint)experts.PerToken);
            if (config is Qwen3MoeConfig)
                Add("expert_feed_forward_length", (uint)First.FeedForward.IntermediateSize);
        }

        if (architecture.Name == "gptneox")
        {
            Add("use_parallel_residual", First.Residual == ResidualKind.Parallel);
            Add("hidden_activation", First.FeedForward.Activation);
        }

        if (architecture.HasCaps)
        {
            Add("attn_logit_softcapping", attention.SoftCap!.Value);
            Add("final_logit_softcapping", model.Head.SoftCap!.Value);
        }

        if (model.Encoder is not null)
            AddEncoder();
        AddWindow();
        if (Rotated.Rotary is { } rotary)
            AddRotary(rotary);
        return values;
    }

    /// <summary>Constant tensors with their values.</summary>
    public IEnumerable<(string Name, float[] Values)> Constants()
    {
        if (Rotated.Rotary is not { Scaling: { } scaling } rotary)
            yield break;
        if (scaling.Name == "llama3")
        {
            double[] frequencies = new RotaryFrequencies(rotary).Of(0);
            yield return (Divisors, [.. frequencies.Select((frequency, k) => (float)(Math.Pow(rotary.Theta, -2.0 * k / rotary.Size) / frequency))]);
        }

        if (scaling.Name == "longrope")
        {
            yield return (LongDivisors, [.. scaling.LongFactors!.Select(factor => (float)factor)]);
            yield return (ShortDivisors, [.. scaling.ShortFactors!.Select(factor => (float)factor)]);
        }
    }

    private void Add(string key, object value) => values.Add(($"{architecture.Name}.{key}", value));

    private void AddEncoder()
    {
        Add("decoder_block_count", (uint)model.Blocks.Count);
        Add("decoder_start_token_id", (uint)model.DecoderStartToken!.Value);
        Add("attention.relative_buckets_count", (uint)GgufT5.RowCount(model));
        if (!GgufT5.HasDistances(model))
            return;
        RelativeBiasDescription table = First.Attention.RelativeBias!;
        values.Add((GgufT5.Buckets, (uint)table.Buckets));
        values.Add((GgufT5.MaxDistance, (uint)table.MaxDistance));
    }

    private void AddWindow()
    {
        if (architecture.WindowPeriod is not { } period)
            return;
        AttentionDescription? local = model.Blocks.Select(block => block.Attention).FirstOrDefault(attention => attention.KeysBefore is not null);
        Add("attention.sliding_window", (uint)((local?.KeysBefore ?? model.MaxPositions - 1) + 1));
        if (architecture.HasWindowTheta)
        {
            Add("attention.sliding_window_pattern", (uint)period);
            if (local is not null)
                Add("rope.freq_base_swa", (float)local.Rotary!.Theta);
        }
    }

    private void AddRotary(RotaryDescription rotary)
    {
        Add("rope.dimension_count", (uint)rotary.Size);
        Add("rope.freq_base", (float)rotary.Theta);
        if (rotary.Scaling is not { Name: "linear" or "yarn" or "longrope" } scaling)
            return;
        Add("rope.scaling.type", scaling.Name);
        if (scaling.Name != "longrope")
            Add("rope.scaling.factor", (float)scaling.Factor!.Value);
        if (scaling.Name == "linear")
            return;
        Add("rope.scaling.original_context_length", (uint)(scaling.OriginalPositions ?? rotary.MaxPositions));
        double attention = new RotaryFrequencies(rotary).AttentionFactor;
        // llama.cpp multiplies yarn's own factor by this one.
        if (scaling.Name == "yarn")
            attention /= 0.1 * Math.Log(Math.Max(scaling.Factor!.Value, 1)) + 1;
        if (Math.Abs(attention - 1) > 1e-9)
            Add("rope.scaling.attn_factor", (float)attention);
    }
}
