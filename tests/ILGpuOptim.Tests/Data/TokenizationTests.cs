using System.Text;
using System.Text.Json.Nodes;
using FsCheck.Xunit;
using ILGpuOptim.Data;
using ILGpuOptim.Data.Tokenization;

namespace ILGpuOptim.Tests.Data;

public sealed class TokenizationTests : IDisposable
{
    private static readonly Lazy<BytePairVocabulary> Learned = new(() =>
    {
        var trainer = new BytePairTrainer();
        trainer.Add(DefaultCorpus.Text[..200_000]);
        return trainer.Train(600);
    });

    private readonly TemporaryFolder folder = new();

    public TokenizationTests() => Learned.Value.Save(folder.Path);

    public void Dispose() => folder.Dispose();

    private static readonly Lazy<ITokenizer> Cl100k = new(() => Tokenizers.Open("cl100k")), O200k = new(() => Tokenizers.Open("o200k"));

    private static readonly Lazy<ITokenizer> BytePair = new(() =>
    {
        using var folder = new TemporaryFolder();
        Learned.Value.Save(folder.Path);
        return Tokenizers.Open(folder.Path);
    });

    /// <summary>Any UTF-16, halves of surrogate pairs and control characters included: what comes back is the text with halves replaced.</summary>
    [Property(MaxTest = 300)]
    public void EveryTextComesBack(int[] numbers, bool near)
    {
        // Any code units, or many from the planes beyond the first, halves in pairs and alone.
        string text = new([.. numbers.Select((number, i) => (char)(near ? number : unchecked(number * 0x9E3779B1 + (uint)i * 0x85EBCA6B) >> 16))]), expected = Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text));
        foreach (ITokenizer tokenizer in (ITokenizer[])[BytePair.Value, Cl100k.Value, O200k.Value, new ByteTokenizer()])
        {
            int[] ids = tokenizer.Encode(text);
            Assert.All(ids, id => Assert.InRange(id, 0, tokenizer.VocabularySize - 1));
            Assert.Equal(expected, tokenizer.Decode(ids));
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData(" ")]
    [InlineData("\n\n \t\r\n")]
    [InlineData("don't I'll they've 123 4567")]
    [InlineData("e\u0301a\u0308 \u200D \uFEFF naïve façade")]
    [InlineData("👩‍👩‍👧‍👦 family, flags 🇩🇪🇫🇷, skin 👍🏽")]
    [InlineData("日本語のテキスト 한국어 العربية עברית हिन्दी")]
    [InlineData("\0\u0001\u007f\u0085")]
    public void UnusualTextComesBack(string text)
    {
        foreach (ITokenizer tokenizer in (ITokenizer[])[BytePair.Value, Cl100k.Value, O200k.Value])
            Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text)));
    }

    /// <summary>Llama 3's form: a sequence of a split by its own pattern and bytes; merges as pairs.</summary>
    [Fact]
    public void ASequenceOfSplitAndBytesIsRead()
    {
        string path = Path.Combine(folder.Path, "tokenizer.json");
        ITokenizer plain = Tokenizers.Open(path);
        JsonNode root = JsonNode.Parse(File.ReadAllText(path))!;
        root["pre_tokenizer"] = JsonNode.Parse("""
            {"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"},"behavior":"Isolated","invert":false},
            {"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]}
            """);
        root["model"]!["merges"] = new JsonArray([.. root["model"]!["merges"]!.AsArray().Select(merge => (JsonNode)new JsonArray([.. merge!.GetValue<string>().Split(' ').Select(part => (JsonNode)part)]))]);
        File.WriteAllText(path, root.ToJsonString());
        string text = DefaultCorpus.Text[300_000..310_000];
        Assert.Equal(plain.Encode(text), Tokenizers.Open(path).Encode(text));
    }

    [Fact]
    public void BothFormsOfTheFilesGiveTheSameIds()
    {
        ITokenizer one = Tokenizers.Open(Path.Combine(folder.Path, "tokenizer.json")), two = Tokenizers.Open(Path.Combine(folder.Path, "vocab.json"));
        string text = DefaultCorpus.Text[300_000..320_000];
        Assert.Equal(one.Encode(text), two.Encode(text));
        Assert.Equal(600, one.VocabularySize);
        Assert.Equal([0], one.Encode(BytePairTrainer.EndOfText));
        Assert.True(one.Encode(text).Length < 0.6 * text.Length);
    }

    [Fact]
    public void TheTokenizerTravelsWithTheModel()
    {
        using var other = new TemporaryFolder();
        foreach (ITokenizer tokenizer in (ITokenizer[])[Tokenizers.Open(folder.Path), Cl100k.Value])
        {
            tokenizer.Save(other.Path);
            ITokenizer again = Tokenizers.Load(other.Path)!;
            Assert.Equal(tokenizer.Encode("And God said"), again.Encode("And God said"));
            foreach (string file in Directory.GetFiles(other.Path))
                File.Delete(file);
        }
    }

    /// <summary>The first merges by hand: "aab" three times and "ab" twice: ab 5 times, then a+ab.</summary>
    [Fact]
    public void MergesTheMostFrequentPairs()
    {
        var trainer = new BytePairTrainer();
        trainer.Add("aab\naab\naab\nab\nab\n");
        BytePairVocabulary vocabulary = trainer.Train(300);
        Assert.Equal(["a b", "a ab"], vocabulary.Merges.Where(merge => !merge.Contains('Ċ')));
        Assert.Equal(257 + vocabulary.Merges.Count, vocabulary.Tokens.Count);
    }

    [Fact]
    public void KnownEncodingsOfTiktoken()
    {
        Assert.Equal([15339, 1917], Cl100k.Value.Encode("hello world"));
        Assert.Equal([24912, 2375], O200k.Value.Encode("hello world"));
    }

    [Fact]
    public void WordPieceLowersAndSplits()
    {
        File.Delete(Path.Combine(folder.Path, "tokenizer_config.json"));
        File.WriteAllText(Path.Combine(folder.Path, "vocab.txt"), string.Join('\n', "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##aff", "##able", "want", "##ed", ",", "cafe") + "\n");
        ITokenizer tokenizer = Tokenizers.Open(Path.Combine(folder.Path, "vocab.txt"));
        Assert.Equal([5, 6, 7, 10, 8, 9, 1, 11], tokenizer.Encode("UNaffable, wanted xyz Café"));
        Assert.Equal(12, tokenizer.VocabularySize);
    }

    /// <summary>Words and signs as Hugging Face's library cuts them: symbols stay, tabs separate, marks go in every script.</summary>
    [Theory]
    [InlineData("a<=b +c", "a < = b + c")]
    [InlineData("a\tb\r\nc", "a b c")]
    [InlineData("a\u0000\u200Db", "a ##b")]
    [InlineData("\u00C9 \u03AC \u0439 \u304C", "e \u03B1 \u0438 \u304B")]
    [InlineData("\uD55C", "\u1112 ##\u1161 ##\u11AB")]
    [InlineData("a\u4F60\u597Db", "a \u4F60 \u597D b")]
    [InlineData("a [MASK]b", "a [MASK] b")]
    [InlineData("\uD83D\uDE42 a", "[UNK] a")]
    public void WordPieceCutsAsBertDoes(string text, string pieces)
    {
        string[] vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "e", "<", "=", "+", "##b", "\u03B1", "\u0438", "\u304B", "\u1112", "##\u1161", "##\u11AB", "\u4F60", "\u597D"];
        string path = Path.Combine(folder.Path, "vocab.txt");
        File.Delete(Path.Combine(folder.Path, "tokenizer_config.json"));
        File.WriteAllText(path, string.Join('\n', vocabulary) + "\n");
        int[] ids = Tokenizers.Open(path).Encode(text);
        Assert.Equal(pieces, string.Join(' ', ids.Select(id => vocabulary[id])));
    }

    [Fact]
    public void PromptsBeginWithWhatThePostProcessorPutsFirst()
    {
        const string Template = """
            "TemplateProcessing","single":[{"SpecialToken":{"id":"<|begin_of_text|>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}]
            """;
        const string Json = $$$"""
            {"added_tokens":[{"id":256,"content":"<|begin_of_text|>"}],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},
             "post_processor":{"type":"Sequence","processors":[{"type":"ByteLevel"},{"type":{{{Template}}}}]},
             "model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}
            """;
        File.WriteAllText(Path.Combine(folder.Path, "tokenizer.json"), Json);
        ITokenizer tokenizer = Tokenizers.Open(folder.Path);
        Assert.Equal(256, tokenizer.PromptStart);
        Assert.Equal([2], tokenizer.Encode("ab"));
        File.WriteAllText(Path.Combine(folder.Path, "tokenizer.json"), Json.Replace(Template, "\"ByteLevel\""));
        Assert.Null(Tokenizers.Open(folder.Path).PromptStart);
    }

    [Fact]
    public void UnknownIdsBecomeReplacementCharacters() => Assert.Contains('\uFFFD', BytePair.Value.Decode([5, 1_000_000, 6]));

    [Theory]
    [InlineData("{", "not valid JSON")]
    [InlineData("{}", "model is missing")]
    [InlineData("{\"model\":{\"type\":\"Bigram\",\"vocab\":[]}}", "Bigram")]
    [InlineData("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},\"pre_tokenizer\":{\"type\":\"Hyphens\"}}", "Hyphens")]
    [InlineData("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"byte_fallbacks\":true}}", "model.byte_fallbacks")]
    [InlineData("{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]},\"normalizer\":{\"type\":\"NFX\"}}", "NFX")]
    [InlineData("{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]},\"chat_template\":\"x\"}", "chat_template")]
    [InlineData("{\"version\":\"2.0\",\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}}", "version")]
    [InlineData("{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[[\"\\uD800\",\"a\"]]}}", "model.merges[0] is ")]
    public void DamagedFilesAreNamed(string contents, string word)
    {
        string path = Path.Combine(folder.Path, "tokenizer.json");
        File.WriteAllText(path, contents);
        UserException e = Assert.Throws<UserException>(() => Tokenizers.Open(path));
        Assert.Contains(path, e.Message);
        Assert.Contains(word, e.Message);
    }

    [Fact]
    public void UnknownNamesAreErrors()
    {
        Assert.Contains("o200k", Assert.Throws<UserException>(() => Tokenizers.Open("no-such")).Message);
        using var empty = new TemporaryFolder();
        Assert.Contains("vocab.txt", Assert.Throws<UserException>(() => Tokenizers.Open(empty.Path)).Message);
        Assert.Contains("258", Assert.Throws<UserException>(() => new BytePairTrainer().Train(100)).Message);
    }
}
