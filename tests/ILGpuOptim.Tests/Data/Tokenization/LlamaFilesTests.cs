using ILGpuOptim.Data;

namespace ILGpuOptim.Tests.Data.Tokenization;

/// <summary>A SentencePiece model with Hugging Face's companion files. The model's own pieces: 538 is the space, 262 " a", 559 "b".</summary>
public sealed class LlamaFilesTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public LlamaFilesTests() => File.Copy(Goldens.Folder("sentencepiece", "phi.model"), folder["tokenizer.model"]);

    public void Dispose() => folder.Dispose();

    private const string Added = """{"<|user|>": 600, "<|end|>": 601}""";

    private const string Decoder = """
        "added_tokens_decoder": {"600": {"content": "<|user|>", "special": true, "lstrip": false, "rstrip": true, "normalized": false, "single_word": false},
        "601": {"content": "<|end|>", "special": true, "lstrip": false, "rstrip": true, "normalized": false, "single_word": false}}
        """;

    private ITokenizer Open(string? config, string? added = null, string? map = null)
    {
        foreach ((string name, string? contents) in (ReadOnlySpan<(string, string?)>)[("tokenizer_config.json", config), ("added_tokens.json", added), ("special_tokens_map.json", map)])
        {
            if (contents is not null)
                File.WriteAllText(folder[name], contents);
        }

        return Tokenizers.Open(folder.Path);
    }

    [Theory]
    [InlineData("<|user|>", new[] { 600 })]
    [InlineData("<|user|> \n b", new[] { 600, 559 })]
    [InlineData("a<|end|>", new[] { 262, 601 })]
    [InlineData("<s>", new[] { 1 })]
    public void AddedTokensAreFoundFirst(string text, int[] ids)
    {
        ITokenizer tokenizer = Open($$"""{"tokenizer_class": "LlamaTokenizer", "legacy": false, {{Decoder}}}""", Added);
        Assert.Equal(ids, tokenizer.Encode(text));
        Assert.Equal(602, tokenizer.VocabularySize);
        Assert.Equal(1, tokenizer.PromptStart);
    }

    /// <summary>A long token of which the text has every beginning must not make the search quadratic.</summary>
    [Fact]
    public void SeekingLongTokensTakesLinearTime()
    {
        ITokenizer tokenizer = Open(null, $$"""{"{{new string('a', 200_000)}}!": 600, "b!": 601}""");
        var watch = System.Diagnostics.Stopwatch.StartNew();
        Assert.Equal(601, tokenizer.Encode(new string('a', 400_000) + "b!")[^1]);
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(10), watch.Elapsed.ToString());
    }

    /// <summary>The older behaviour puts a space before every part of the text; the newer one before the whole text only, an added token that is not special included.</summary>
    [Theory]
    [InlineData(true, new[] { 600, 262 })]
    [InlineData(false, new[] { 538, 600, 542 })]
    public void LegacyPutsSpacesBehindAddedTokens(bool legacy, int[] ids)
    {
        ITokenizer tokenizer = Open($$"""{"legacy": {{(legacy ? "true" : "false")}}}""", Added);
        Assert.Equal(ids, tokenizer.Encode("<|user|>a"));
        Assert.Equal("<|user|>a", tokenizer.Decode(ids));
    }

    [Fact]
    public void AddedTokensAloneAreEnough()
    {
        ITokenizer tokenizer = Open(null, Added);
        Assert.Equal([262, 600, 262, 601], tokenizer.Encode("a<|user|>a<|end|>"));
        Assert.Equal("a<|user|>a<|end|>", tokenizer.Decode([262, 600, 262, 601]));
    }

    [Fact]
    public void SpecialTokensOfTheMapAreAddedBehindTheVocabulary()
    {
        ITokenizer tokenizer = Open("{}", null, """{"pad_token": "[PAD]", "additional_special_tokens": [{"content": "<x>", "lstrip": true, "rstrip": false, "normalized": false, "single_word": false}]}""");
        Assert.Equal([262, 601, 600], tokenizer.Encode("a <x>[PAD]"));
        Assert.Equal(602, tokenizer.VocabularySize);
    }

    [Theory]
    [InlineData("""{"add_bos_token": false}""")]
    [InlineData("""{"bos_token": null}""")]
    public void PromptsNeedNotBeginWithAToken(string config) => Assert.Null(Open(config).PromptStart);

    [Fact]
    public void AllFilesTravelWithTheModel()
    {
        File.WriteAllText(folder["chat_template.jinja"], "{{ messages }}");
        Directory.CreateDirectory(folder["additional_chat_templates"]);
        File.WriteAllText(folder["additional_chat_templates/tools.jinja"], "tools");
        using var other = new TemporaryFolder();
        Open("""{"legacy": false}""", Added, "{}").Save(other.Path);
        static IEnumerable<string> Files(string path) => Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories).Select(file => Path.GetRelativePath(path, file)).Order();
        Assert.Equal(Files(folder.Path), Files(other.Path));
        Assert.Equal("tools", File.ReadAllText(other["additional_chat_templates/tools.jinja"]));
        Assert.Equal([262, 600], Tokenizers.Open(other.Path).Encode("a<|user|>"));
    }

    [Theory]
    [InlineData("""{"tokenizer_class": "XLMRobertaTokenizer"}""", null, "XLMRobertaTokenizer")]
    [InlineData("""{"tokenizer_class": "T5Tokenizer", "extra_ids": 100}""", null, "T5Tokenizer")]
    [InlineData("""{"unheard_of": 1}""", null, "unheard_of")]
    [InlineData("""{"auto_map": {"AutoTokenizer": ["x.Y", null]}}""", null, "auto_map")]
    [InlineData("""{"split_special_tokens": true}""", null, "split_special_tokens")]
    [InlineData("""{"sp_model_kwargs": {"enable_sampling": true}}""", null, "enable_sampling")]
    [InlineData("""{"added_tokens_decoder": {"x": {"content": "a"}}}""", null, "added_tokens_decoder.x")]
    [InlineData("""{"added_tokens_decoder": {"600": {"content": "<a>", "flag": true}}}""", null, "flag")]
    [InlineData("""{"added_tokens_decoder": {"600": {"content": "<a>"}}}""", """{"<a>": 601}""", "added_tokens.json: <a>")]
    [InlineData("{}", """{"<a>": 600, "<b>": 600}""", "600")]
    [InlineData("{}", """{"<a>": -1}""", "-1")]
    [InlineData("{}", """{"<a>": 2000000000}""", "2000000000")]
    [InlineData("{}", """{"<a>": "600"}""", "integer")]
    [InlineData("[]", null, "object")]
    public void WhatIsNotModelledIsRefusedByName(string config, string? added, string message) =>
        Assert.Contains(message, Assert.Throws<UserException>(() => Open(config, added)).Message);
}
