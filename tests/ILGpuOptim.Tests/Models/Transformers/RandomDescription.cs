using ILGpuOptim.Layers;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Models.Transformers;

/// <summary>Small transformers whose options are drawn and combined at random; a seed repeats one.</summary>
internal sealed class RandomDescription(int seed)
{
    public const int VocabularySize = 19, MaxPositions = 24;

    private readonly Random random = new(seed);
    private int hidden;
    private RotaryDescription? firstRotary, secondRotary;
    private bool hasRelativeBias;

    /// <summary>A model of one stack.</summary>
    public TransformerDescription Make(bool? isCausal = null)
    {
        hidden = random.Next(2, 6) * 2;
        bool causal = isCausal ?? Flip(), relative = Flip(0.2), experts = Flip(0.2);
        return new TransformerDescription
        {
            VocabularySize = VocabularySize,
            HiddenSize = hidden,
            MaxPositions = MaxPositions,
            IsCausal = causal,
            Embedding = Embedding(causal),
            Blocks = Blocks("layer", random.Next(1, 4), causal, relative, experts, crosses: false),
            FinalNorm = Flip(0.8) ? Norm("final") : null,
            Head = Head(),
            RouterLossCoefficient = experts ? 0.3f : 0,
        };
    }

    /// <summary>A model of an encoder and a decoder.</summary>
    public TransformerDescription MakeWithEncoder()
    {
        hidden = random.Next(2, 6) * 2;
        bool relative = Flip();
        TransformerDescription encoder = new()
        {
            VocabularySize = VocabularySize,
            HiddenSize = hidden,
            MaxPositions = MaxPositions,
            IsCausal = false,
            Embedding = Embedding(causal: false) with { Segments = null, Positions = null },
            Blocks = Blocks("encoder", random.Next(1, 3), false, relative, experts: false, crosses: false),
            FinalNorm = Flip(0.8) ? Norm("encoder.final") : null,
            Head = new HeadDescription(),
        };
        return encoder with
        {
            IsCausal = true,
            Blocks = Blocks("decoder", random.Next(1, 3), true, relative, experts: false, crosses: true),
            FinalNorm = Flip(0.8) ? Norm("decoder.final") : null,
            Head = Head(),
            Encoder = encoder,
            DecoderStartToken = 0,
        };
    }

    private bool Flip(double probability = 0.5) => random.NextDouble() < probability;

    private NormDescription Norm(string name) => Flip()
        ? new(name, NormKind.LayerNorm, 1e-5f) { HasBias = Flip() }
        : new(name, NormKind.RmsNorm, 1e-5f) { AddsOne = Flip() };

    private NormDescription? MaybeNorm(string name) => Flip() ? Norm(name) : null;

    private ProjectionDescription Projection(string name, bool? bias = null, bool? inputsFirst = null) =>
        new(name) { HasBias = bias ?? Flip(), InputsFirst = inputsFirst ?? Flip(0.25) };

    private EmbeddingDescription Embedding(bool causal) => new()
    {
        Tokens = "tokens",
        Scale = Flip(0.3) ? 1.7f : 1,
        Positions = Flip() ? new PositionTableDescription("positions", MaxPositions + 2, causal || Flip() ? null : 1) : null,
        Segments = Flip(0.3) ? "segments" : null,
        SegmentCount = 2,
        Norm = Flip(0.3) ? Norm("embedding.norm") : null,
        PaddingToken = Flip(0.3) ? 1 : null,
    };

    private HeadDescription Head() => new()
    {
        Projection = Flip() ? Projection("head", bias: false, inputsFirst: false) : null,
        Bias = Flip(0.3) ? "head.bias" : null,
        Scale = Flip(0.3) ? 0.6f : 1,
        SoftCap = Flip(0.3) ? 2 : null,
        Transform = Flip(0.3) ? new HeadTransformDescription(Projection("head.dense"), "gelu", Norm("head.norm")) : null,
    };

    private BlockDescription[] Blocks(string name, int count, bool causal, bool relative, bool experts, bool crosses)
    {
        int heads = random.Next(1, 4);
        hasRelativeBias = relative;
        firstRotary = secondRotary = null;
        int size = 2 * random.Next(1, 4);
        if (Flip())
            firstRotary = new RotaryDescription(100, Flip() ? size : 2) { MaxPositions = MaxPositions };
        if (firstRotary is not null && Flip())
            secondRotary = firstRotary with { Theta = 37 };
        ResidualKind residual = (ResidualKind)random.Next(3);
        return [.. Enumerable.Range(0, count).Select(i => Block($"{name}.{i}", $"{name}.bias", heads, size, residual, causal, experts && (count == 1 || Flip()), crosses))];
    }

    private BlockDescription Block(string name, string table, int heads, int size, ResidualKind residual, bool causal, bool experts, bool crosses)
    {
        bool after = residual == ResidualKind.NormAfterSum;
        return new BlockDescription
        {
            Residual = residual,
            AttentionNorm = after ? null : MaybeNorm(name + ".attention.before"),
            Attention = Attention(name + ".attention", table, heads, size, causal, isCross: false),
            AttentionOutputNorm = after ? Norm(name + ".attention.after") : MaybeNorm(name + ".attention.after"),
            CrossAttentionNorm = crosses ? MaybeNorm(name + ".cross.before") : null,
            CrossAttention = crosses ? Attention(name + ".cross", table, heads, size, causal: false, isCross: true) : null,
            FeedForwardNorm = after ? null : MaybeNorm(name + ".mlp.before"),
            FeedForward = FeedForward(name + ".mlp", experts),
            FeedForwardOutputNorm = after ? Norm(name + ".mlp.after") : MaybeNorm(name + ".mlp.after"),
        };
    }

    private AttentionDescription Attention(string name, string table, int heads, int size, bool causal, bool isCross)
    {
        bool packed = !isCross && Flip(0.4), byHeads = packed && Flip(), norms = !packed && Flip(0.4), perHead = Flip();
        int keyHeads = byHeads || heads % 2 != 0 || Flip() ? heads : heads / 2;
        bool? bias = Flip() ? Flip() : null;
        return new AttentionDescription
        {
            Inputs = packed ? [Projection(name + ".qkv")] : [Projection(name + ".q", bias), Projection(name + ".k", bias), Projection(name + ".v", bias)],
            Order = byHeads ? PackedOrder.Heads : PackedOrder.Sections,
            Output = Projection(name + ".o"),
            Heads = heads,
            KeyHeads = keyHeads,
            HeadSize = size,
            Scale = Flip() ? 1 / MathF.Sqrt(size) : 0.8f,
            SoftCap = !isCross && Flip(0.3) ? 1.5f : null,
            KeysBefore = !isCross && Flip(0.4) ? random.Next(1, 5) : null,
            KeysAfter = !isCross && !causal && Flip(0.4) ? random.Next(1, 5) : null,
            QueryNorm = norms ? Norm(name + ".q.norm") : null,
            KeyNorm = norms ? Norm(name + ".k.norm") : null,
            NormsHeads = perHead,
            Rotary = isCross ? null : secondRotary is not null && Flip() ? secondRotary : firstRotary,
            RelativeBias = !isCross && hasRelativeBias ? new RelativeBiasDescription(table, 8, 9) { IsBidirectional = !causal } : null,
        };
    }

    private FeedForwardDescription FeedForward(string name, bool experts)
    {
        string activation = new[] { "silu", "gelu", "gelu_new", "relu", "quick_gelu" }[random.Next(5)];
        int inner = random.Next(2, 9);
        if (experts)
        {
            string each = name + ".experts.{e}";
            return new FeedForwardDescription
            {
                Activation = activation,
                IntermediateSize = inner,
                Gate = Flip(0.7) ? Projection(each + ".gate", bias: false, inputsFirst: false) : null,
                Up = Projection(each + ".up", bias: false, inputsFirst: false),
                Down = Projection(each + ".down", bias: false, inputsFirst: false),
                Experts = new ExpertsDescription(3, random.Next(1, 4), Projection(name + ".router", bias: false)) { NormalizesWeights = Flip() },
            };
        }

        bool gated = Flip(), packed = !gated && Flip();
        return new FeedForwardDescription
        {
            Activation = activation,
            IntermediateSize = inner,
            Gate = gated ? Projection(name + ".gate", inputsFirst: false) : null,
            Up = Projection(name + ".up", inputsFirst: gated ? false : null),
            IsPacked = packed,
            Down = Projection(name + ".down"),
        };
    }
}
