using System.Text;
using FsCheck;
using FsCheck.Xunit;
using ILGpuOptim.Data;

namespace ILGpuOptim.Tests.Data;

public sealed class TokenizerTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>Text of any scalar values, beyond the basic plane too.</summary>
    private static string Text(int[] seeds) => string.Concat(seeds.Select(seed =>
    {
        uint value = (uint)seed * 2654435761u % 0x110000;
        return (Rune.IsValid(value) ? new Rune(value) : new Rune(seed & 0x7F)).ToString();
    }));

    private ITokenizer Reloaded(ITokenizer tokenizer)
    {
        tokenizer.Save(folder.Path);
        return Tokenizers.Load(folder.Path)!;
    }

    [Property(MaxTest = 100)]
    public void CharactersGoThereAndBack(int[] seeds)
    {
        string text = Text(seeds);
        var tokenizer = CharTokenizer.From(text);
        int[] ids = tokenizer.Encode(text);
        Assert.Equal(text, tokenizer.Decode(ids));
        Assert.Equal(text.EnumerateRunes().Count(), ids.Length);
        Assert.Equal(text.EnumerateRunes().Distinct().Count(), tokenizer.VocabularySize);
        Assert.All(ids, id => Assert.InRange(id, 0, tokenizer.VocabularySize - 1));
        ITokenizer loaded = Reloaded(tokenizer);
        Assert.Equal(ids, loaded.Encode(text));
        Assert.Equal(text, loaded.Decode(ids));
    }

    [Property(MaxTest = 100)]
    public void BytesGoThereAndBack(int[] seeds)
    {
        string text = Text(seeds);
        ITokenizer tokenizer = Reloaded(new ByteTokenizer());
        int[] ids = tokenizer.Encode(text);
        Assert.Equal(Encoding.UTF8.GetBytes(text), ids.Select(id => (byte)id));
        Assert.Equal(text, tokenizer.Decode(ids));
    }

    [Property(MaxTest = 200)]
    public void AnyStringAtAllEncodes(string? text)
    {
        text ??= "";
        string replaced = string.Concat(text.EnumerateRunes());
        Assert.Equal(replaced, new ByteTokenizer().Decode(new ByteTokenizer().Encode(text)));
        var tokenizer = CharTokenizer.From(text);
        Assert.Equal(replaced, tokenizer.Decode(tokenizer.Encode(text)));
    }

    [Fact]
    public void IdsFollowTheOrderOfTheCharacters()
    {
        var tokenizer = CharTokenizer.From("cab\na😀ä");
        Assert.Equal([3, 1, 2, 0, 1, 5, 4], tokenizer.Encode("cab\na😀ä"));
        Assert.Equal(6, tokenizer.VocabularySize);
        Assert.Equal("a�b�", tokenizer.Decode([1, 6, 2, -1]));
        Assert.Empty(tokenizer.Encode(""));
        Assert.Equal("", tokenizer.Decode([]));
    }

    [Theory]
    [InlineData("abx", "'x' (U+0078) at position 2")]
    [InlineData("a\t", "U+0009 at position 1")]
    [InlineData("😀", "'😀' (U+1F600) at position 0")]
    public void AnUnknownCharacterIsNamed(string text, string message)
    {
        string error = Assert.Throws<UserException>(() => CharTokenizer.From("ab").Encode(text)).InFlags();
        Assert.Contains(message, error);
        Assert.Contains("--tokenizer byte", error);
    }

    [Fact]
    public void BytesThatAreNoTextBecomeReplacementCharacters() =>
        Assert.Equal("a��b", new ByteTokenizer().Decode(['a', 0xFF, 300, 'b']));

    [Theory]
    [InlineData("", "the file is empty")]
    [InlineData("[]", "must be an object")]
    [InlineData("{}", "kind is missing")]
    [InlineData("""{"kind":7}""", "kind is 7; it must be a string")]
    [InlineData("""{"kind":null}""", "kind is missing")]
    [InlineData("""{"kind":"bpe"}""", "kind is \"bpe\"; it must be char, byte or tiktoken")]
    [InlineData("""{"kind":"tiktoken","encoding":"p50k"}""", "encoding is \"p50k\"; it must be one of o200k, cl100k")]
    [InlineData("""{"kind":"tiktoken"}""", "encoding is missing")]
    [InlineData("""{"kind":"byte","lowercase":true}""", "lowercase is true: the field is not known")]
    [InlineData("""{"kind":"char"}""", "characters is missing")]
    [InlineData("""{"kind":"char","characters":["ab"]}""", "characters[0] is \"ab\", not one character")]
    [InlineData("""{"kind":"char","characters":["a",""]}""", "characters[1] is \"\", not one character")]
    [InlineData("""{"kind":"char","characters":["b","a"]}""", "characters[1] is \"a\", not one character with a code point above")]
    [InlineData("""{"kind":"char","characters":["a","a"]}""", "characters[1] is \"a\"")]
    [InlineData("""{"kind":"char","characters":[null]}""", "characters[0] is null")]
    [InlineData("""{"kind":"char","characters":["\ud800"]}""", "half a surrogate pair")]
    public void DamagedFilesAreNamed(string json, string message)
    {
        string path = folder[Tokenizers.FileName];
        File.WriteAllText(path, json);
        string error = Assert.Throws<UserException>(() => Tokenizers.Load(folder.Path)).Message;
        Assert.StartsWith(path, error);
        Assert.Contains(message, error);
    }

    [Fact]
    public void AFolderWithoutATokenizerHasNone() => Assert.Null(Tokenizers.Load(folder.Path));
}
