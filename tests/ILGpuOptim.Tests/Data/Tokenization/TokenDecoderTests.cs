using System.Text;
using ILGpuOptim.Data.Tokenization;
using ILGpuOptim.Files;

namespace ILGpuOptim.Tests.Data.Tokenization;

/// <summary>Decoders of tokenizer.json: tokens are separated by bars.</summary>
public sealed class TokenDecoderTests
{
    private static ITokenDecoder Read(string json) => Decoders.Read(JsonFields.Parse(Encoding.UTF8.GetBytes($$"""{"decoder":{{json}}}"""), "test.json").RequiredObject("decoder"));

    [Theory]
    [InlineData("""{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}""", "Hello|Ġw|Ã|©|<｜end|é", "Hello wé<｜end\uFFFD")]
    [InlineData("""{"type":"WordPiece","prefix":"##","cleanup":true}""", "un|##aff|,|he|'|s|do|not|##x", "unaff, he ' s do notx")]
    [InlineData("""{"type":"WordPiece","prefix":"##","cleanup":false}""", "##un|a|.|.##", "##un a . .##")]
    [InlineData("""{"type":"Metaspace","replacement":"▁","prepend_scheme":"always"}""", "▁a▁b|▁c▁d", "ab c d")]
    [InlineData("""{"type":"Metaspace","replacement":"▁","prepend_scheme":"never","split":true}""", "▁a|▁c", " a c")]
    [InlineData("""{"type":"Metaspace","replacement":"_","add_prefix_space":false,"str_rep":"_"}""", "_a|_c", " a c")]
    [InlineData("""{"type":"BPEDecoder","suffix":"</w>"}""", "a</w>|b|c</w>|d</w>", "a bc d")]
    [InlineData("""{"type":"CTC","pad_token":"<pad>","word_delimiter_token":"|","cleanup":true}""", "a|a|<pad>|a|b|b", "aab")]
    [InlineData("""{"type":"Fuse"}""", "a|b", "ab")]
    [InlineData("""{"type":"Strip","content":" ","start":1,"stop":2}""", "  a   |  | b", " a b")]
    [InlineData("""{"type":"Replace","pattern":{"String":"▁"},"content":" "}""", "▁a▁|b", " a b")]
    [InlineData("""{"type":"Replace","pattern":{"Regex":"x+"},"content":"$0"}""", "xxa|x", "$0a$0")]
    [InlineData("""{"type":"ByteFallback"}""", "<0xE5>|<0x8f>|<0xAB>|a|<0xE5>|<0x8f>|b|<0xZZ>", "叫a\uFFFD\uFFFDb<0xZZ>")]
    [InlineData("""{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}""", "▁▁Hi|<0xC3>|<0xA9>|▁you", " Hié you")]
    public void TokensBecomeText(string json, string tokens, string text) => Assert.Equal(text, string.Concat(Read(json).Decode([.. tokens.Split('|')])));

    /// <summary>Steps behind ByteFallback treat the first or the last token in another way, so it must add none.</summary>
    [Theory]
    [InlineData("""{"type":"ByteFallback"}""", "a|<0x41>|<0xC3>|b", "a|\uFFFD|\uFFFD|b")]
    [InlineData("""{"type":"ByteFallback"}""", "<0xC3>|<0xA9>|a|<0x41>", "é|a|A")]
    [InlineData("""{"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"Metaspace","replacement":"▁","prepend_scheme":"always"}]}""", "▁a|▁b", "a| b")]
    [InlineData("""{"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"WordPiece"}]}""", "a|##b|c", "a|b| c")]
    [InlineData("""{"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"BPEDecoder"}]}""", "a</w>|b</w>", "a |b")]
    [InlineData("""{"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"CTC"}]}""", "a|a|b", "a|b")]
    public void StepsSeeNoOtherTokens(string json, string tokens, string results) => Assert.Equal(results.Split('|'), Read(json).Decode([.. tokens.Split('|')]));

    [Theory]
    [InlineData("""{"type":"Bytes"}""", "Bytes")]
    [InlineData("""{"type":"Sequence"}""", "decoders")]
    [InlineData("""{"type":"Fuse","glue":"x"}""", "glue")]
    [InlineData("""{"type":"Strip","content":" ","start":-1,"stop":0}""", "start")]
    [InlineData("""{"type":"Strip","content":"ab","start":0,"stop":0}""", "content")]
    [InlineData("""{"type":"Metaspace","replacement":"▁","prepend_scheme":"last"}""", "last")]
    public void WhatIsNotModelledIsNamed(string json, string word) => Assert.Contains(word, Assert.Throws<UserException>(() => Read(json)).Message);
}
