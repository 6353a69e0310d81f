using System.Text.Json.Serialization;

namespace ILGpuOptim.Models;

/// <summary>RoBERTa with its masked-language-model head (Liu et al., 2019): BERT whose positions are counted from the padding id.</summary>
public record RobertaConfig : BertLikeConfig
{
    /// <summary>The defaults of <c>transformers</c>.</summary>
    public RobertaConfig()
    {
        Architectures = ["RobertaForMaskedLM"];
        TieWordEmbeddings = true;
        PadToken = 1;
    }

    /// <summary>The family.</summary>
    public static ModelFamily Registration { get; } = ModelFamily.Of<RobertaConfig>("roberta", "RoBERTa");

    /// <summary>Rows of the position table. Positions start at the padding id + 1, so it has that many rows more than <see cref="ContextLength"/>.</summary>
    [JsonPropertyName("max_position_embeddings")]
    public int PositionRows { get; init; }

    /// <summary>The longest sequence, in tokens. In an object initializer it must follow <see cref="ModelConfig.PadToken"/>, on which <see cref="PositionRows"/> depends.</summary>
    public override int ContextLength
    {
        get => PositionRows - FirstPosition;
        init => PositionRows = value + FirstPosition;
    }

    /// <inheritdoc/>
    public override string BasePrefix => "roberta.";

    /// <inheritdoc/>
    public override string HeadTensor => "lm_head.decoder.weight";

    /// <inheritdoc/>
    public override IReadOnlyList<string> OtherHeads => ["roberta.pooler.*", "pooler.dense.*"];

    /// <inheritdoc/>
    protected override (string Dense, string Norm, string Bias, string Activation) HeadParts => ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias", "gelu");

    /// <inheritdoc/>
    protected override int? PositionPadding => PadToken;

    private int FirstPosition => (PadToken ?? -1) + 1;

    /// <inheritdoc/>
    public override ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? hiddenSize = null, double? dropout = null)
    {
        // Positions need a padding id; one that a small vocabulary has lost becomes its last.
        var resized = (RobertaConfig)base.Resized(vocabulary, positions, layers, heads, hiddenSize, dropout);
        return resized.PadToken is null && PadToken is not null ? resized with { PadToken = resized.VocabularySize - 1, ContextLength = resized.ContextLength } : resized;
    }

    /// <summary>Adds the mask and the padding id after the vocabulary of the new text.</summary>
    public override ModelConfig WithNewMask() =>
        this with { MaskToken = VocabularySize, PadToken = VocabularySize + 1, VocabularySize = VocabularySize + 2, ContextLength = ContextLength };

    /// <inheritdoc/>
    public override void Check(string source)
    {
        base.Check(source);
        ConfigChecks.Activation(source, "hidden_act", Activation);
        if (PadToken is not { } pad || pad < 0)
            throw new UserException($"{source}: pad_token_id = {(PadToken is null ? "null" : PadToken)}; positions are counted from it, so it must be an id of the vocabulary");
        if (ContextLength < 1)
            throw new UserException($"{source}: max_position_embeddings = {PositionRows}; positions begin at pad_token_id + 1 = {FirstPosition}, so it must be larger");
    }
}
