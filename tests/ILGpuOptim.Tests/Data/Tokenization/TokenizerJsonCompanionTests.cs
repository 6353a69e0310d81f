using ILGpuOptim.Data;

namespace ILGpuOptim.Tests.Data.Tokenization;

/// <summary>What stands beside a tokenizer.json, as Hugging Face's fast tokenizers read it.</summary>
public sealed class TokenizerJsonCompanionTests
{
    private const string Words = """
        {"version":"1.0","added_tokens":[{"id":2,"content":"<s>","special":true}],"normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true},
         "post_processor":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":false},"model":{"type":"BPE","vocab":{"a":0,"b":1,"<s>":2,"<":3,"x":4,">":5,"<x>":6,"\u0120":7},"merges":[]}}
        """;

    private static ITokenizer Open(TemporaryFolder folder, string name, string contents)
    {
        File.WriteAllText(folder["tokenizer.json"], Words);
        File.WriteAllText(folder[name], contents);
        return Tokenizers.Open(folder["tokenizer.json"]);
    }

    /// <summary>A token of the vocabulary keeps its id and is found whole; a new one gets the next id; flags of tokenizer.json win.</summary>
    [Theory]
    [InlineData("tokenizer_config.json", """{"added_tokens_decoder":{"2":{"content":"<s>","lstrip":true},"6":{"content":"<x>"},"8":{"content":"aa","special":true}}}""", "a<x>aa <s>", new[] { 0, 6, 8, 7, 2 }, 9)]
    [InlineData("tokenizer_config.json", """{"pad_token":"<x>","additional_special_tokens":["ab"]}""", "ab<x>b", new[] { 8, 6, 1 }, 9)]
    [InlineData("special_tokens_map.json", """{"pad_token":{"content":"<x>"},"eos_token":"bb"}""", "bb<x>", new[] { 8, 6 }, 9)]
    [InlineData("added_tokens.json", """{"<x>":6,"ba":8}""", "ba<x>", new[] { 8, 6 }, 9)]
    [InlineData("tokenizer_config.json", """{"auto_map":{"AutoTokenizer":["x.X",null]},"boi_token":"b","model_max_length":1}""", "a<x>b", new[] { 0, 3, 4, 5, 1 }, 8)]
    public void MissingTokensAreAdded(string name, string contents, string text, int[] ids, int size)
    {
        using var folder = new TemporaryFolder();
        ITokenizer tokenizer = Open(folder, name, contents);
        Assert.Equal(size, tokenizer.VocabularySize);
        Assert.Equal(ids, tokenizer.Encode(text));
    }

    [Theory]
    [InlineData("""{"added_tokens_decoder":{"9":{"content":"new"}}}""", "\"new\" the id 9")]
    [InlineData("""{"added_tokens_decoder":{"4":{"content":"<s>"}}}""", "\"<s>\" the id 4")]
    [InlineData("""{"tokenizer_class":"BertTokenizer","do_lower_case":false}""", "do_lower_case")]
    [InlineData("""{"tokenizer_class":"BertTokenizerFast","strip_accents":false}""", "strip_accents")]
    [InlineData("""{"tokenizer_class":"BertTokenizer","tokenize_chinese_chars":false}""", "tokenize_chinese_chars")]
    [InlineData("""{"add_prefix_space":true}""", "add_prefix_space")]
    [InlineData("""{"tokenizer_class":"LlamaTokenizer","add_bos_token":true}""", "add_bos_token")]
    [InlineData("""{"split_special_tokens":true}""", "split_special_tokens")]
    public void ContradictionsAreRefusedByName(string contents, string word)
    {
        using var folder = new TemporaryFolder();
        string message = Assert.Throws<UserException>(() => Open(folder, "tokenizer_config.json", contents)).Message;
        Assert.Contains(word, message);
        Assert.Contains("tokenizer_config.json", message);
    }

    /// <summary>transformers builds LLaMA's tokenizer anew where the setting is given, so the file must agree with it.</summary>
    [Theory]
    [InlineData("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"_\"}]}", "false", false)]
    [InlineData("\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"_\"}", "true", true)]
    [InlineData("\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"_\"}", "null", true)]
    [InlineData("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\",\"split\":false}", "false", false)]
    [InlineData("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"never\",\"split\":false}", "false", true)]
    [InlineData("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"never\",\"split\":false}", "true", false)]
    [InlineData("\"pre_tokenizer\":null", "true", false)]
    public void TheSpaceBeforeATextIsThatOfBothFiles(string part, string setting, bool fits)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["tokenizer.json"], $$$"""{"version":"1.0",{{{part}}},"model":{"type":"BPE","vocab":{"a":0,"_":1},"merges":[]}}""");
        File.WriteAllText(folder["tokenizer_config.json"], $$$"""{"tokenizer_class":"LlamaTokenizer","add_prefix_space":{{{setting}}}}""");
        if (fits)
            Assert.Equal([0], Tokenizers.Open(folder["tokenizer.json"]).Encode("a")[^1..]);
        else
            Assert.Contains("add_prefix_space", Assert.Throws<UserException>(() => Tokenizers.Open(folder["tokenizer.json"])).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"tokenizer_class":"LlamaTokenizer","add_bos_token":true,"bos_token":"<s>"}""", new[] { 2 })]
    [InlineData("""{"tokenizer_class":"LlamaTokenizerFast","add_bos_token":false,"bos_token":"<s>"}""", new int[0])]
    [InlineData("""{"tokenizer_class":"PreTrainedTokenizerFast","add_bos_token":true,"do_lower_case":false}""", new int[0])]
    public void TextsBeginAsTheClassSays(string contents, int[] prefix)
    {
        using var folder = new TemporaryFolder();
        Assert.Equal(prefix, Open(folder, "tokenizer_config.json", contents).PromptPrefix);
    }
}
