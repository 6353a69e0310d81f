using System.Text.Json;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Models;

/// <summary>BERT with its masked-language-model head (Devlin et al., 2019).</summary>
public record BertConfig : BertLikeConfig
{
    /// <summary>The defaults of <c>transformers</c>.</summary>
    public BertConfig()
    {
        Architectures = ["BertForMaskedLM"];
        TieWordEmbeddings = true;
        PadToken = 0;
    }

    /// <summary>The family.</summary>
    public static ModelFamily Registration { get; } = ModelFamily.Of<BertConfig>("bert", "BERT");

    /// <inheritdoc/>
    public override string BasePrefix => "bert.";

    /// <inheritdoc/>
    public override string HeadTensor => "cls.predictions.decoder.weight";

    /// <inheritdoc/>
    public override IReadOnlyList<string> OtherHeads => ["*pooler.dense.weight", "*pooler.dense.bias", "cls.seq_relationship.*"];

    /// <inheritdoc/>
    protected override (string Dense, string Norm, string Bias, string Activation) HeadParts =>
        ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias", Activation);

    /// <summary>As the base, except that the row of the padding id is trained like every other, as in the recorded results of BERT.</summary>
    public override TransformerDescription Describe()
    {
        TransformerDescription description = base.Describe();
        return description with { Embedding = description.Embedding with { PaddingToken = null } };
    }

    /// <inheritdoc/>
    public override void Check(string source)
    {
        base.Check(source);
        ActivationNames.Require(source, "hidden_act", Activation);
    }

    /// <inheritdoc/>
    protected override void ReadOthers(JsonFields fields)
    {
        base.ReadOthers(fields);
        fields.Only("directionality", value => value.ValueKind == JsonValueKind.String && value.ValueEquals("bidi"), "only attention in both directions (bidi) is supported");
        fields.Ignore("pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type");
    }
}
