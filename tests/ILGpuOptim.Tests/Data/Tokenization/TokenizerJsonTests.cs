using System.Text;
using ILGpuOptim.Data;
using ILGpuOptim.Data.Tokenization;

namespace ILGpuOptim.Tests.Data.Tokenization;

/// <summary>What the parts of a tokenizer.json do together.</summary>
public sealed class TokenizerJsonTests
{
    private const string Words = """{"type":"WordLevel","unk_token":"?","vocab":{"?":0,"the":1,"king":2,"[CLS]":3,"[SEP]":4,"▁the":5}}""";

    private static PipelineTokenizer Read(string json) => TokenizerJson.Read("test.json", Encoding.UTF8.GetBytes(json), []);

    private static string Json(string fields, string model = Words) => $$"""{"version":"1.0",{{fields}},"model":{{model}}}""";

    [Fact]
    public void AddedTokensComeBeforeEverythingElse()
    {
        PipelineTokenizer tokenizer = Read(Json("""
            "truncation":{"max_length":2,"stride":0,"strategy":"LongestFirst","direction":"Right"},"padding":{"strategy":{"Fixed":128}},
            "added_tokens":[{"id":90,"content":"KING"},{"id":9,"content":"THE","normalized":true},{"id":4,"content":"[SEP]","special":true},{"id":5,"content":""}],
            "normalizer":{"type":"Lowercase"},"pre_tokenizer":{"type":"WhitespaceSplit"},"decoder":null
            """));
        Assert.Equal([9, 2, 90, 0, 4, 9, 9, 2], tokenizer.Encode("The King KING queen[SEP]thethe king"));
        Assert.Equal("THE KING [SEP] \uFFFD \uFFFD king", tokenizer.Decode([9, 90, 4, 91, -1, 2]));
        Assert.Equal((91, "wordlevel", 0), (tokenizer.VocabularySize, tokenizer.Kind, tokenizer.PromptPrefix.Count));
        Assert.Equal([], tokenizer.Encode(""));
    }

    [Fact]
    public void WithoutAPreTokenizerTheWholeTextIsAPiece() => Assert.Equal([1, 0], [.. Read(Json("\"normalizer\":null")).Encode("the"), .. Read(Json("\"normalizer\":null")).Encode("the king")]);

    /// <summary>Only what is at the start of the whole text gets Metaspace's character with the scheme "first".</summary>
    [Fact]
    public void PiecesKnowWhetherTheyAreAtTheStart()
    {
        PipelineTokenizer tokenizer = Read(Json("""
            "added_tokens":[{"id":4,"content":"[SEP]"},{"id":9,"content":"<n>","normalized":true}],"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":true}
            """));
        Assert.Equal([5, 4, 1, 9, 1], tokenizer.Encode("the[SEP]the<n>the"));
        Assert.Equal([4, 1], tokenizer.Encode("[SEP]the"));
    }

    /// <summary>What is left when the first character was removed is not at the start.</summary>
    [Theory]
    [InlineData("""{"type":"Strip","strip_left":true,"strip_right":true}""", " the", 1)]
    [InlineData("""{"type":"Strip","strip_left":true,"strip_right":true}""", "the ", 5)]
    [InlineData("""{"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"StripAccents"}]}""", "\u0301the", 1)]
    [InlineData("""{"type":"Nmt"}""", "\u0001the", 1)]
    [InlineData("""{"type":"Lowercase"}""", "The", 5)]
    public void WhatFollowsARemovedCharacterIsNotAtTheStart(string normalizer, string text, int id) => Assert.Equal([id], Read(Json($$"""
        "normalizer":{{normalizer}},"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":true}
        """)).Encode(text));

    [Theory]
    [InlineData("""{"type":"BertProcessing","sep":["[SEP]",4],"cls":["[CLS]",3]}""", new[] { 3 })]
    [InlineData("""{"type":"RobertaProcessing","sep":["[SEP]",4],"cls":["[CLS]",3],"trim_offsets":true,"add_prefix_space":false}""", new[] { 3 })]
    [InlineData("""{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":false,"use_regex":true}""", new int[0])]
    [InlineData("""{"type":"TemplateProcessing","add_prefix_space":false,"trim_offsets":false,"use_regex":true,"single":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"SpecialToken":{"id":"x","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[SEP]","type_id":0}}],"pair":[],"special_tokens":{"x":{"id":"x","ids":[1,2],"tokens":["the","king"]}}}""", new[] { 3, 1, 2 })]
    [InlineData("""{"type":"Sequence","processors":[{"type":"BertProcessing","sep":["[SEP]",4],"cls":["[CLS]",3]},{"type":"BertProcessing","sep":["[SEP]",4],"cls":["the",1]}]}""", new[] { 1, 3 })]
    public void PromptsBeginWithAllThatThePostProcessorPutsFirst(string processor, int[] prefix)
    {
        ITokenizer tokenizer = Read(Json($"\"post_processor\":{processor}"));
        Assert.Equal(prefix, tokenizer.PromptPrefix);
        Assert.Equal(prefix.Length > 0 ? prefix[0] : null, tokenizer.PromptStart);
        Assert.Equal([1], tokenizer.Encode("the"));
    }

    [Theory]
    [InlineData("\"post_processor\":{\"type\":\"Around\"}", "Around")]
    [InlineData("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"xy\"},\"content\":\"\"}]},\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"▁\",\"prepend_scheme\":\"first\"}", "first")]
    [InlineData("\"post_processor\":{\"type\":\"ByteLevel\",\"trim_offsets\":true,\"add_bos\":true}", "add_bos")]
    [InlineData("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}},{\"Sequence\":{\"id\":\"A\"}}]}", "\"x\"")]
    [InlineData("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}", "single")]
    [InlineData("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"B\"}}]}", "\"A\"")]
    [InlineData("\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",4],\"cls\":[\"[CLS]\",300]}", "300")]
    [InlineData("\"added_tokens\":[{\"id\":7,\"content\":\"king\"}]", "vocabulary gives it 2")]
    [InlineData("\"added_tokens\":[{\"id\":2,\"content\":\"queen\"}]", "\"king\"")]
    [InlineData("\"added_tokens\":[{\"id\":2147483647,\"content\":\"queen\"}]", "2147483647")]
    [InlineData("\"added_tokens\":[{\"id\":7,\"content\":\"queen\",\"color\":1}]", "added_tokens[0].color")]
    [InlineData("\"added_tokens\":[{\"content\":\"queen\"}]", "added_tokens[0].id")]
    public void WhatIsNotModelledIsNamed(string fields, string word)
    {
        UserException e = Assert.Throws<UserException>(() => Read(Json(fields)));
        Assert.StartsWith("test.json: ", e.Message);
        Assert.Contains(word, e.Message);
    }

    [Fact]
    public void AByteOrderMarkIsSkipped() => Assert.Equal([1], TokenizerJson.Read("test.json", [.. Encoding.UTF8.Preamble, .. Encoding.UTF8.GetBytes(Json("\"decoder\":null"))], []).Encode("the"));

    [Fact]
    public void FilesWithoutATypeAreKnownByTheirFields()
    {
        Assert.Equal("bpe", Read("""{"model":{"vocab":{},"merges":[]}}""").Kind);
        Assert.Equal("wordpiece", Read("""{"model":{"vocab":{},"continuing_subword_prefix":"##"}}""").Kind);
        Assert.Equal("unigram", Read("""{"model":{"vocab":[["a",0]],"unk_id":0}}""").Kind);
        Assert.Equal("wordlevel", Read("""{"model":{"vocab":{},"unk_token":"?"}}""").Kind);
    }
}
