namespace PeerBenchmarks.Workloads;

/// <summary>A model and how it is trained: the same for every side.</summary>
internal sealed record Recipe
{
    public required int VocabularySize { get; init; }

    /// <summary>Rows of the table of positions.</summary>
    public required int Positions { get; init; }

    public required int Layers { get; init; }

    public required int Heads { get; init; }

    public required int HiddenSize { get; init; }

    /// <summary>Sequences a step.</summary>
    public required int Batch { get; init; }

    /// <summary>Tokens a sequence.</summary>
    public required int Length { get; init; }

    /// <summary>Linear layers and norms have biases and GELU is the tanh approximation, as in GPT-2; else neither, as in nanoGPT's character model.</summary>
    public bool LikeGpt2 { get; init; } = true;

    /// <summary>The width inside LLaMA's feed-forward layers; null: the model is a GPT.</summary>
    public int? LlamaInner { get; init; }

    public float LearningRate { get; init; } = 1e-3f;

    public float Beta1 { get; init; } = 0.9f;

    public required float Beta2 { get; init; }

    /// <summary>Of matrices; vectors do not decay.</summary>
    public float WeightDecay { get; init; } = 0.1f;

    /// <summary>The largest norm of the gradient; null: it is not clipped.</summary>
    public float? Clip { get; init; }

    /// <summary>A step takes so long that it needs no warm-up after a pause.</summary>
    public bool IsSlow => HiddenSize >= 512;

    /// <summary>Small GPT over 65 characters, 0.8 million parameters, in GPT-2's architecture.</summary>
    public static readonly Recipe Character = new()
    {
        VocabularySize = 65, Positions = 64, Layers = 4, Heads = 4, HiddenSize = 128, Batch = 12, Length = 64, Beta2 = 0.99f, Clip = 1,
    };

    /// <summary>GPT-2 with 124 million parameters, at 4 × 64 tokens a step.</summary>
    public static readonly Recipe Gpt2 = new()
    {
        VocabularySize = 50257, Positions = 1024, Layers = 12, Heads = 12, HiddenSize = 768, Batch = 4, Length = 64, Beta2 = 0.999f, LearningRate = 1e-4f,
    };

    /// <summary>LLaMA with 60 million parameters, as in GaLore and APOLLO, at 2 × 256 tokens a step.</summary>
    public static readonly Recipe Llama60M = new()
    {
        VocabularySize = 32000, Positions = 1024, Layers = 8, Heads = 8, HiddenSize = 512, LlamaInner = 1376, Batch = 2, Length = 256, Beta2 = 0.999f, Clip = 1,
    };

    /// <summary>The recipe of a case.</summary>
    /// <exception cref="ArgumentException">There is no such case.</exception>
    public static Recipe Named(string @case) => @case switch
    {
        "char" => Character,
        "char-nanogpt" => Character with { LikeGpt2 = false },
        "gpt2" => Gpt2,
        "gpt2-1024" => Gpt2 with { Batch = 1, Length = 1024 },
        "llama-60m" => Llama60M,
        _ => throw new ArgumentException($"{@case}: no such model; char, char-nanogpt, gpt2, gpt2-1024 or llama-60m"),
    };
}
