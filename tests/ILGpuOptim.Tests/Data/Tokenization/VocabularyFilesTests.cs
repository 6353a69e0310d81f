using System.Text;
using ILGpuOptim.Data;

namespace ILGpuOptim.Tests.Data.Tokenization;

/// <summary>vocab.json with merges.txt, and vocab.txt, with Hugging Face's companion files.</summary>
public sealed class VocabularyFilesTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private ITokenizer Copy(string name, string? config = null, bool byteOrderMarks = false)
    {
        foreach (string file in Directory.GetFiles(Goldens.Folder("tokenizer-files", name)))
        {
            byte[] contents = File.ReadAllBytes(file);
            File.WriteAllBytes(folder[Path.GetFileName(file)], byteOrderMarks ? [.. Encoding.UTF8.Preamble, .. contents] : contents);
        }

        if (config is not null)
            File.WriteAllText(folder["tokenizer_config.json"], config);
        return Tokenizers.Open(folder.Path);
    }

    [Theory]
    [InlineData("added", "And the king <|im_start|>[PAD]", new[] { 327, 268, 530, 33, 600, 601 })]
    [InlineData("prefixspace", "And the king", new[] { 33, 327, 268, 530 })]
    [InlineData("vocab-txt", "the [NEW] king", new[] { 5, 61, 6 })]
    [InlineData("zh-txt", "\u4E2D\u6587 a", new[] { 5, 9 })]
    public void CompanionFilesAreHonoured(string name, string text, int[] ids)
    {
        foreach (bool marks in (bool[])[false, true])
            Assert.Equal(ids, Copy(name, byteOrderMarks: marks).Encode(text));
    }

    [Fact]
    public void AddedTokensCountInTheVocabulary() => Assert.Equal(602, Copy("added").VocabularySize);

    [Theory]
    [InlineData("""{"tokenizer_class": "GPT2TokenizerFast", "add_bos_token": true, "bos_token": "[PAD]"}""", new[] { 601 })]
    [InlineData("""{"tokenizer_class": "RobertaTokenizer", "cls_token": "<|im_start|>"}""", new[] { 600 })]
    [InlineData("""{"tokenizer_class": "Qwen2Tokenizer"}""", new int[0])]
    public void PromptsBeginAsTheClassSays(string config, int[] prefix) => Assert.Equal(prefix, Copy("added", config).PromptPrefix);

    /// <summary>RoBERTa's mask takes the space before it, as its class says; Qwen 2 composes accents and cuts every digit off.</summary>
    [Theory]
    [InlineData("""{"tokenizer_class": "RobertaTokenizer", "mask_token": "<mask>"}""", "the <mask>", "the<mask>")]
    [InlineData("""{"tokenizer_class": "Qwen2Tokenizer"}""", "e\u0301", "\u00E9")]
    public void ClassesDecideWhatIsDoneToText(string config, string text, string same)
    {
        ITokenizer tokenizer = Copy("added", config);
        Assert.Equal(tokenizer.Encode(same), tokenizer.Encode(text));
        ITokenizer plain = Copy("added");
        Assert.NotEqual(plain.Encode(same), plain.Encode(text));
    }

    [Fact]
    public void MergesMayContainTheNumberSign()
    {
        // Every byte is a token, and "##" is one by a merge of its own.
        var letters = new List<string>();
        foreach (char letter in ILGpuOptim.Data.Tokenization.ByteLetters.All)
            letters.Add(letter.ToString());
        letters.Add("##");
        File.WriteAllText(folder["vocab.json"], System.Text.Json.JsonSerializer.Serialize(letters.Select((token, id) => (token, id)).ToDictionary(pair => pair.token, pair => pair.id)));
        File.WriteAllText(folder["merges.txt"], "#version: 0.2\r\n# #\r\n");
        Assert.Equal([256], Tokenizers.Open(folder.Path).Encode("##"));
        File.WriteAllText(folder["merges.txt"], "# #\n");
        Assert.Equal([256, 35], Tokenizers.Open(folder["merges.txt"]).Encode("###"));
    }

    [Theory]
    [InlineData("added", """{"tokenizer_class": "CLIPTokenizer"}""", "CLIPTokenizer")]
    [InlineData("added", """{"something_new": 3}""", "something_new")]
    [InlineData("added", """{"add_prefix_space": "yes"}""", "add_prefix_space")]
    [InlineData("vocab-txt", """{"tokenizer_class": "BertJapaneseTokenizer"}""", "BertJapaneseTokenizer")]
    [InlineData("vocab-txt", """{"never_split": ["[E1]"]}""", "never_split")]
    [InlineData("vocab-txt", """{"do_lower_case": 1}""", "do_lower_case")]
    public void WhatIsNotModelledIsRefusedByName(string name, string config, string message) =>
        Assert.Contains(message, Assert.Throws<UserException>(() => Copy(name, config)).Message);

    [Theory]
    [InlineData("""{"zz": 1}""", "is the id of")]
    [InlineData("""{"Ā": 700}""", "but the vocabulary gives it 1")]
    public void AddedTokensThatContradictTheVocabularyAreRefused(string added, string message)
    {
        Copy("added");
        File.Delete(folder["tokenizer_config.json"]);
        File.WriteAllText(folder["added_tokens.json"], added);
        Assert.Contains(message, Assert.Throws<UserException>(() => Tokenizers.Open(folder["vocab.json"])).Message);
    }

    [Theory]
    [InlineData("vocab.json", "{\"a\": 0.5}", "vocab.json: a")]
    [InlineData("vocab.json", "{\"a\": 0, \"b\": 0}", "same id")]
    [InlineData("vocab.json", "[1]", "must be an object")]
    [InlineData("vocab.json", "", "empty")]
    [InlineData("merges.txt", "#version: 0.2\na b c\n", "line 2")]
    [InlineData("merges.txt", "a zz\n", "zz")]
    [InlineData("merges.txt", null, "merges.txt is missing")]
    public void DamagedFilesAreNamed(string name, string? contents, string message)
    {
        Copy("added");
        if (contents is null)
            File.Delete(folder[name]);
        else
            File.WriteAllText(folder[name], contents);
        Assert.Contains(message, Assert.Throws<UserException>(() => Tokenizers.Open(folder["vocab.json"])).Message);
    }

    [Theory]
    [InlineData("""{"do_lower_case": false}""", "The", 1)]
    [InlineData("""{"do_lower_case": true}""", "The", 5)]
    [InlineData("""{"do_basic_tokenize": false}""", "the", 5)]
    public void WordPieceLowersAsTheFileSays(string config, string text, int id)
    {
        ITokenizer tokenizer = Copy("vocab-txt", config);
        Assert.Equal([id], tokenizer.Encode(text));
    }
}
