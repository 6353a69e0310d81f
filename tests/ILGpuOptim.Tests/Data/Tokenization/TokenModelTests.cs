using System.Diagnostics;
using System.Text;
using ILGpuOptim.Data.Tokenization;
using ILGpuOptim.Files;

namespace ILGpuOptim.Tests.Data.Tokenization;

/// <summary>The models of tokenizer.json. Expected ids follow from the vocabularies by hand.</summary>
public sealed class TokenModelTests
{
    private static JsonFields Json(string text) => JsonFields.Parse(Encoding.UTF8.GetBytes($$"""{"model":{{text}}}"""), "test.json").RequiredObject("model");

    private static int[] Encode(ITokenModel model, string piece)
    {
        var ids = new List<int> { -7 };
        model.Encode(piece, ids);
        Assert.Equal(-7, ids[0]);
        var again = new List<int> { -7 };
        model.Encode(piece, again);
        Assert.Equal(ids, again);
        return [.. ids.Skip(1)];
    }

    /// <summary>"abc": the pair "b c" has the lower rank; "aabb": "a b" in the middle first.</summary>
    [Theory]
    [InlineData("abc", new[] { 0, 3 })]
    [InlineData("abab", new[] { 4, 4 })]
    [InlineData("aabb", new[] { 0, 4, 1 })]
    [InlineData("bcbcab", new[] { 3, 3, 4 })]
    [InlineData("aaaaa", new[] { 6, 0 })]
    public void BytePairsMergeByRankThenPosition(string piece, int[] ids)
    {
        foreach (string merges in (string[])["\"b c\",\"a b\",\"a a\",\"aa aa\"", "[\"b\",\"c\"],[\"a\",\"b\"],[\"a\",\"a\"],[\"aa\",\"aa\"]"])
        {
            BytePairModel model = BytePairModel.Read(Json($$"""{"type":"BPE","dropout":null,"vocab":{"a":0,"b":1,"c":2,"bc":3,"ab":4,"aa":5,"aaaa":6},"merges":[{{merges}}]}"""));
            Assert.Equal(ids, Encode(model, piece));
        }
    }

    [Fact]
    public void HalfASurrogatePairIsNoToken()
    {
        foreach (string merge in (string[])["\"a \\ud800\"", "[\"a\", \"\\ud800\"]"])
            Assert.Contains("model.merges[0] is ", Assert.Throws<UserException>(() => BytePairModel.Read(Json($$"""{"type":"BPE","vocab":{"a":0},"merges":[{{merge}}]}"""))).Message);
        Assert.Contains("model.vocab[0] is ", Assert.Throws<UserException>(() => UnigramModel.Read(Json("""{"type":"Unigram","vocab":[["\ud800",0]]}"""))).Message);
    }

    [Theory]
    [InlineData(false, false, "axyb", new[] { 0, 9, 9, 1 })]
    [InlineData(true, false, "axyb", new[] { 0, 9, 1 })]
    [InlineData(true, false, "xy", new[] { 9 })]
    [InlineData(false, true, "aé", new[] { 0, 3, 4 })]
    [InlineData(false, true, "aüb", new[] { 0, 9, 1 })]
    [InlineData(false, true, "üéb", new[] { 3, 4, 9, 1 })]
    [InlineData(false, true, "😀", new[] { 5, 6, 7, 8 })]
    public void UnknownCharacters(bool fuse, bool bytes, string piece, int[] ids)
    {
        BytePairModel model = BytePairModel.Read(Json($$"""
            {"type":"BPE","unk_token":"<unk>","fuse_unk":{{(fuse ? "true" : "false")}},"byte_fallback":{{(bytes ? "true" : "false")}},
             "vocab":{"a":0,"b":1,"<0xC3>":3,"<0xA9>":4,"<0xF0>":5,"<0x9F>":6,"<0x98>":7,"<0x80>":8,"<unk>":9},"merges":[]}
            """));
        Assert.Equal(ids, Encode(model, piece));
    }

    [Fact]
    public void UnknownCharactersAreErrorsWithoutAnUnknownToken()
    {
        foreach (string unknown in (string[])["null", "\"<unk>\""])
        {
            BytePairModel model = BytePairModel.Read(Json($$"""{"type":"BPE","unk_token":{{unknown}},"vocab":{"a":0},"merges":[]}"""));
            Assert.Contains("U+0062", Assert.Throws<UserException>(() => Encode(model, "ab")).Message);
        }
    }

    /// <summary>CLIP has a suffix; old WordPiece-like BPE has a prefix, which merging removes.</summary>
    [Theory]
    [InlineData("abc", new[] { 0, 5 })]
    [InlineData("ab", new[] { 6 })]
    public void PrefixAndSuffix(string piece, int[] ids)
    {
        BytePairModel model = BytePairModel.Read(Json("""
            {"type":"BPE","continuing_subword_prefix":"##","end_of_word_suffix":"</w>",
             "vocab":{"a":0,"##b":1,"##b</w>":2,"##c":3,"##c</w>":4,"##bc</w>":5,"ab</w>":6},"merges":["##b ##c</w>","a ##b</w>"]}
            """));
        Assert.Equal(ids, Encode(model, piece));
    }

    [Fact]
    public void WholePiecesWithoutMerges()
    {
        const string Json = """{"type":"BPE","ignore_merges":IGNORE,"vocab":{"a":0,"b":1,"c":2,"abc":3},"merges":[]}""";
        Assert.Equal([3], Encode(BytePairModel.Read(TokenModelTests.Json(Json.Replace("IGNORE", "true"))), "abc"));
        Assert.Equal([0, 1, 2], Encode(BytePairModel.Read(TokenModelTests.Json(Json.Replace("IGNORE", "false"))), "abc"));
    }

    [Theory]
    [InlineData("""{"vocab":{"a":0,"b":1},"merges":["a b"]}""", "\"ab\"")]
    [InlineData("""{"vocab":{"a":0,"ab":1},"merges":["a b"]}""", "\"b\"")]
    [InlineData("""{"vocab":{"a":0,"b":1,"ab":2},"merges":["a b c"]}""", "merges[0]")]
    [InlineData("""{"vocab":{"a":0},"merges":[],"dropout":0.1}""", "dropout")]
    [InlineData("""{"vocab":{"a":0,"b":0},"merges":[]}""", "same id 0")]
    [InlineData("""{"vocab":{"a":2147483647},"merges":[]}""", "2147483647")]
    [InlineData("""{"vocab":{"a":-1},"merges":[]}""", "-1")]
    [InlineData("""{"vocab":{"a":0.5},"merges":[]}""", "0.5")]
    [InlineData("""{"vocab":{"a":0}}""", "merges")]
    [InlineData("""{"merges":[]}""", "vocab")]
    public void DamagedModelsAreNamed(string json, string word) =>
        Assert.Contains(word, Assert.Throws<UserException>(() => BytePairModel.Read(Json(json))).Message);

    [Theory]
    [InlineData("unaffable", new[] { 1, 2, 3 })]
    [InlineData("un", new[] { 1 })]
    [InlineData("unx", new[] { 0 })]
    [InlineData("affable", new[] { 0 })]
    [InlineData("#", new[] { 5 })]
    [InlineData("un##aff", new[] { 0 })]
    [InlineData("unununun", new[] { 0 })]
    [InlineData("😀😀😀😀😀😀😀😀😀", new[] { 6, 7, 7, 7, 7, 7, 7, 7, 7 })]
    [InlineData("😀😀😀😀😀😀😀😀😀😀", new[] { 0 })]
    public void WordPieceTakesTheLongestTokens(string word, int[] ids)
    {
        WordPieceModel model = WordPieceModel.Read(Json("""
            {"type":"WordPiece","max_input_chars_per_word":9,"vocab":{"[UNK]":0,"un":1,"##aff":2,"##able":3,"##a":4,"#":5,"😀":6,"##😀":7}}
            """));
        Assert.Equal(ids, Encode(model, word));
    }

    [Fact]
    public void WordsThatNoModelKnows()
    {
        Assert.Equal([1, 2], Encode(WordLevelModel.Read(Json("""{"vocab":{"<unk>":1,"a":2}}""")), "b").Concat(Encode(WordLevelModel.Read(Json("""{"vocab":{"<unk>":1,"a":2}}""")), "a")));
        Assert.Contains("[UNK]", Assert.Throws<UserException>(() => Encode(WordPieceModel.Read(Json("""{"vocab":{"a":0}}""")), "b")).Message);
        Assert.Contains("[u]", Assert.Throws<UserException>(() => Encode(WordLevelModel.Read(Json("""{"unk_token":"[u]","vocab":{"a":0}}""")), "b")).Message);
    }

    /// <summary>"abc" as "ab"+"c" costs 3.5, as "a"+"bc" 3.25; unknown neighbours are one.</summary>
    [Theory]
    [InlineData("abc", new[] { 1, 5 })]
    [InlineData("ab", new[] { 3 })]
    [InlineData("axwa", new[] { 1, 0, 1 })]
    [InlineData("xwzx", new[] { 0 })]
    [InlineData("yz", new[] { 6 })]
    [InlineData("<unk>a", new[] { 0, 1 })]
    public void UnigramTakesTheBestSum(string piece, int[] ids)
    {
        UnigramModel model = UnigramModel.Read(Json("""
            {"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["a",-1.25],["b",-2.5],["ab",-2],["c",-1.5],["bc",-2],["yz",-30],["y",-9]]}
            """));
        Assert.Equal(ids, Encode(model, piece));
    }

    [Fact]
    public void UnigramFallsBackToBytes()
    {
        UnigramModel model = UnigramModel.Read(Json("""{"type":"Unigram","unk_id":0,"byte_fallback":true,"vocab":[["<unk>",0],["a",-1],["<0xC3>",0],["<0xA9>",0]]}"""));
        Assert.Equal([1, 2, 3, 1], Encode(model, "aéa"));
        Assert.Equal([1, 0, 1], Encode(model, "aéüa"));
    }

    [Theory]
    [InlineData("""{"vocab":[["a",0]],"unk_id":1}""", "unk_id")]
    [InlineData("""{"vocab":[["a",1e999]]}""", "vocab[0]")]
    [InlineData("""{"vocab":[["a"]]}""", "vocab[0]")]
    [InlineData("""{"vocab":{"a":0}}""", "vocab")]
    public void DamagedUnigramModelsAreNamed(string json, string word) =>
        Assert.Contains(word, Assert.Throws<UserException>(() => UnigramModel.Read(Json(json))).Message);

    [Fact]
    public void UnknownCharactersAreErrorsForAUnigramModelWithoutThem() =>
        Assert.Contains("U+0062", Assert.Throws<UserException>(() => Encode(UnigramModel.Read(Json("""{"vocab":[["a",0]]}""")), "ab")).Message);

    /// <summary>A piece of a million characters, whose every pair can be merged at first. Anything quadratic takes minutes.</summary>
    [Fact]
    public void LongPiecesTakeLinearTime()
    {
        BytePairModel bytePairs = BytePairModel.Read(Json("""{"vocab":{"a":0,"b":1,"aa":2,"aaaa":3,"ab":4,"ba":5},"merges":["b a","a a","aa aa","a b"]}"""));
        UnigramModel unigram = UnigramModel.Read(Json("""{"unk_id":0,"vocab":[["<unk>",0],["a",-1],["aaaa",-2],["b",-3]]}"""));
        WordPieceModel wordPieces = WordPieceModel.Read(Json("""{"max_input_chars_per_word":100000000,"vocab":{"[UNK]":0,"aa":1,"##aaa":2,"##a":3,"##b":4,"b":5,"a":6}}"""));
        var random = new Random(1);
        foreach (ITokenModel model in (ITokenModel[])[bytePairs, unigram, wordPieces])
        {
            foreach (string text in (string[])[new('a', 1_000_000), new([.. Enumerable.Range(0, 1_000_000).Select(_ => "ab"[random.Next(2)])])])
            {
                var ids = new List<int>();
                var time = Stopwatch.StartNew();
                model.Encode(text, ids);
                Assert.True(time.Elapsed < TimeSpan.FromSeconds(10), $"{model.GetType().Name}: {time.Elapsed}");
                Assert.Equal(text, string.Concat(ids.Select(id => model.TokenOf(id)!.Replace("#", ""))));
            }
        }
    }
}
