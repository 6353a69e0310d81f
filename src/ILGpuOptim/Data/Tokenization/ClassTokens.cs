namespace ILGpuOptim.Data.Tokenization;

/// <summary>The special tokens that Hugging Face's tokenizer classes define, by attribute; a file that names others overrides them.</summary>
internal static class ClassTokens
{
    /// <summary>Tokens of LLaMA.</summary>
    public static IReadOnlyDictionary<string, AddedTokenSettings> Llama { get; } = Tokens(("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>"));

    /// <summary>Tokens of GPT-2 and GPT-NeoX.</summary>
    public static IReadOnlyDictionary<string, AddedTokenSettings> Gpt2 { get; } =
        Tokens(("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>"));

    /// <summary>Tokens of RoBERTa, Longformer and BART.</summary>
    public static IReadOnlyDictionary<string, AddedTokenSettings> Roberta { get; } =
        new Dictionary<string, AddedTokenSettings>(Tokens(("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>"), ("sep_token", "</s>"), ("pad_token", "<pad>"), ("cls_token", "<s>")))
        {
            ["mask_token"] = AddedTokenSettings.SpecialOf("<mask>") with { StripLeft = true },
        };

    /// <summary>Tokens of Qwen 2.</summary>
    public static IReadOnlyDictionary<string, AddedTokenSettings> Qwen2 { get; } =
        Tokens(("eos_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>"));

    /// <summary>Tokens of BERT and its relatives.</summary>
    public static IReadOnlyDictionary<string, AddedTokenSettings> Bert { get; } =
        Tokens(("unk_token", "[UNK]"), ("sep_token", "[SEP]"), ("pad_token", "[PAD]"), ("cls_token", "[CLS]"), ("mask_token", "[MASK]"));

    private static IReadOnlyDictionary<string, AddedTokenSettings> Gemma { get; } =
        Tokens(("bos_token", "<bos>"), ("eos_token", "<eos>"), ("unk_token", "<unk>"), ("pad_token", "<pad>"));

    private static IReadOnlyDictionary<string, AddedTokenSettings> T5 { get; } = Tokens(("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>"));

    /// <summary>The tokens of a class, named without "Fast"; none for other classes, such as <c>PreTrainedTokenizer</c>.</summary>
    public static IReadOnlyDictionary<string, AddedTokenSettings> Of(string? tokenizerClass) => tokenizerClass switch
    {
        "LlamaTokenizer" or "CodeLlamaTokenizer" => Llama,
        "GPT2Tokenizer" or "CodeGenTokenizer" or "GPTNeoXTokenizer" => Gpt2,
        "RobertaTokenizer" or "LongformerTokenizer" or "BartTokenizer" => Roberta,
        "Qwen2Tokenizer" => Qwen2,
        "GemmaTokenizer" => Gemma,
        "T5Tokenizer" => T5,
        "BertTokenizer" or "DistilBertTokenizer" or "ElectraTokenizer" or "MobileBertTokenizer" or "SqueezeBertTokenizer" or "ConvBertTokenizer" => Bert,
        _ => Tokens(),
    };

    private static IReadOnlyDictionary<string, AddedTokenSettings> Tokens(params ReadOnlySpan<(string Attribute, string Token)> tokens)
    {
        var result = new Dictionary<string, AddedTokenSettings>();
        foreach ((string attribute, string token) in tokens)
            result[attribute] = AddedTokenSettings.SpecialOf(token);
        return result;
    }
}
