using System.Text;
using ILGpuOptim.Data.Tokenization;
using ILGpuOptim.Files;

namespace ILGpuOptim.Tests.Data.Tokenization;

/// <summary>Each normalizer of tokenizer.json; the right values are those of Hugging Face's library.</summary>
public sealed class TextNormalizerTests
{
    [Theory]
    [InlineData("{'type':'NFC'}", "A\u030A e\u0301 \u1100\u1161\u11A8 \u212B", "\u00C5 \u00E9 \uAC01 \u00C5")]
    [InlineData("{'type':'NFD'}", "\u00C5 \uAC01 \uAC00 \u1E69 s\u0307\u0323", "A\u030A \u1100\u1161\u11A8 \u1100\u1161 s\u0323\u0307 s\u0323\u0307")]
    [InlineData("{'type':'NFKC'}", "\uFB01 \u2460 \uFF21 \u0132 x\u00B2", "fi 1 A IJ x2")]
    [InlineData("{'type':'NFKD'}", "\uFB01 \u1E9B\u0323 \U0001D400", "fi s\u0323\u0307 A")]
    [InlineData("{'type':'NFC'}", "\U00011131\U00011127 \u0344", "\U0001112E \u0308\u0301")]
    [InlineData("{'type':'Lowercase'}", "ΑΣ İI ẞ \U0001E900\U00010400", "ασ i\u0307i ß \U0001E922\U00010428")]
    [InlineData("{'type':'StripAccents'}", "e\u0301 \u00E9 \u0903x\u20DD", "e \u00E9 x")]
    [InlineData("{'type':'Strip','strip_left':true,'strip_right':false}", "\u3000 a \u0085", "a \u0085")]
    [InlineData("{'type':'Strip','strip_left':true,'strip_right':true}", "\u2003\n", "")]
    [InlineData("{'type':'Prepend','prepend':'▁'}", "a", "▁a")]
    [InlineData("{'type':'Prepend','prepend':'▁'}", "", "")]
    [InlineData("{'type':'Replace','pattern':{'String':'aa'},'content':'b'}", "aaaaa", "bba")]
    [InlineData("{'type':'Replace','pattern':{'String':''},'content':'-'}", "a\U0001F600", "-a-\U0001F600-")]
    [InlineData("{'type':'Replace','pattern':{'Regex':'\\\\p{N}+'},'content':'0'}", "1\U0001D7CF2 x", "0 x")]
    [InlineData("{'type':'Replace','pattern':{'Regex':'a*'},'content':'-'}", "aab", "-b-")]
    [InlineData("{'type':'NFKC'}", "\u32FF \uA7F2 1\u1DF6\u0301", "\u32FF \uA7F2 1\u1DF6\u0301")]
    [InlineData("{'type':'Lowercase'}", "\uA7CE\U00016EA0", "\uA7CF\U00016EBB")]
    [InlineData("{'type':'StripAccents'}", "\u1CF2\u07FD", "\u07FD")]
    [InlineData("{'type':'BertNormalizer','clean_text':false,'handle_chinese_chars':false,'strip_accents':true,'lowercase':false}", "\u1734\u1885\U0001171E", "\u1885")]
    [InlineData("{'type':'Nmt'}", "a\u0001\tb\u200B\uFEFF\u009F", "a b  ")]
    [InlineData("{'type':'ByteLevel'}", "a é\n", "aĠÃ©Ċ")]
    [InlineData("{'type':'BertNormalizer','clean_text':true,'handle_chinese_chars':true,'strip_accents':null,'lowercase':true}", "É\u0000\t中\uFFFD\u00ADx\U00020000", "e  中 x \U00020000 ")]
    [InlineData("{'type':'BertNormalizer','clean_text':false,'handle_chinese_chars':false,'strip_accents':true,'lowercase':false}", "É\t中", "E\t中")]
    [InlineData("{'type':'BertNormalizer','clean_text':true,'handle_chinese_chars':true,'strip_accents':false,'lowercase':true}", "É\u2028", "é ")]
    [InlineData("{'type':'Sequence','normalizers':[{'type':'NFKC'},{'type':'Lowercase'},{'type':'Sequence','normalizers':[]}]}", "ＡＢ", "ab")]
    public void RewritesAsTheLibrary(string json, string text, string expected) =>
        Assert.Equal(expected, Read(json)!.Normalize(text));

    [Fact]
    public void ReplacementsThatMultiplyATextWithoutEndAreRefused()
    {
        string step = $"{{'type':'Replace','pattern':{{'String':'a'}},'content':'{new string('a', 1000)}'}}";
        INormalizer chain = Read($"{{'type':'Sequence','normalizers':[{step},{step},{step},{step}]}}")!;
        Assert.Contains("more than 268,435,456 characters", Assert.Throws<UserException>(() => chain.Normalize("a")).Message);
    }

    [Theory]
    [InlineData("{'type':'Sequence','normalizers':[]}")]
    [InlineData("{'type':'Precompiled','precompiled_charsmap':''}")]
    public void EmptyOnesDoNothing(string json) => Assert.Null(Read(json));

    [Theory]
    [InlineData("{'type':'Upper'}", "Upper")]
    [InlineData("{'type':'NFC','strict':true}", "strict")]
    [InlineData("{'type':'Strip','strip_left':true}", "strip_right")]
    [InlineData("{'type':'Sequence','normalizers':[{'type':'NFC'},{'type':'X'}]}", "normalizers[1]")]
    [InlineData("{'type':'Replace','pattern':{'Glob':'x'},'content':'b'}", "Glob")]
    [InlineData("{'type':'Replace','pattern':{'Regex':'(a)\\\\1'},'content':'b'}", "\\1")]
    [InlineData("{'type':'Precompiled','precompiled_charsmap':'AAAA'}", "damaged")]
    [InlineData("{'type':'Precompiled','precompiled_charsmap':'/////w=='}", "damaged")]
    [InlineData("{'type':'Precompiled','precompiled_charsmap':'?'}", "Base64")]
    public void RefusesTheRestByName(string json, string name) => Assert.Contains(name, Assert.Throws<UserException>(() => Read(json)).Message);

    [Fact]
    public void LongRunsOfMarksAreSortedInTime()
    {
        // Two classes that alternate: sorting by exchanging neighbours would need 10^11 steps.
        string text = "a" + string.Concat(Enumerable.Repeat("\u0301\u0323", 500_000));
        string expected = "a" + new string('\u0323', 500_000) + new string('\u0301', 500_000);
        Assert.Equal(expected, UnicodeNormalization.Nfd.Normalize(text));
        Assert.Equal("\u1EA1" + new string('\u0323', 499_999) + new string('\u0301', 500_000), UnicodeNormalization.Nfc.Normalize(text));
    }

    [Fact]
    public void FormsAgreeWithNormalizationTest()
    {
        // Lines of Unicode's NormalizationTest.txt: source; NFC; NFD; NFKC; NFKD.
        foreach (string line in File.ReadLines(Path.Combine(AppContext.BaseDirectory, "Data", "Tokenization", "normalization.txt")))
        {
            // Later characters stay as they are, as in the library.
            if (line.Split(';')[0].Split(' ').Any(point => !UnicodeData.IsAssigned(Convert.ToInt32(point, 16), new Version(9, 0))))
                continue;
            string[] forms = [.. line.Split(';').Select(form => string.Concat(form.Split(' ').Select(point => char.ConvertFromUtf32(Convert.ToInt32(point, 16)))))];
            Assert.Equal(
                (forms[1], forms[2], forms[3], forms[4]),
                (UnicodeNormalization.Nfc.Normalize(forms[0]), UnicodeNormalization.Nfd.Normalize(forms[0]),
                UnicodeNormalization.Nfkc.Normalize(forms[0]), UnicodeNormalization.Nfkd.Normalize(forms[0])));
        }
    }

    [Fact]
    public void ADamagedMapIsNeverReadBeyondItsEnd()
    {
        var random = new Random(1);
        for (int i = 0; i < 2_000; i++)
        {
            var blob = new byte[4 + (4 * random.Next(1, 40)) + random.Next(0, 9)];
            random.NextBytes(blob);
            BitConverter.TryWriteBytes(blob, (blob.Length - 4) / 4 * 4);
            blob.AsSpan((blob.Length - 4) / 4 * 4 + 4).Clear();
            var map = new PrecompiledMap(blob, "test");
            for (int first = 0; first < 256; first++)
                map.Longest([(byte)first, (byte)random.Next(256), (byte)random.Next(256)], out _);
            map.NormalizeClusters("aé中\U0001F600\u0301");
        }
    }

    private static INormalizer? Read(string json) => Normalizers.Read(JsonFields.Parse(Encoding.UTF8.GetBytes(json.Replace('\'', '"')), "tokenizer.json"));
}
