using System.Text;
using System.Text.Json;
using ILGpuOptim.Data;
using ILGpuOptim.Data.Tokenization;

namespace ILGpuOptim.Tests.Data.Tokenization;

/// <summary>Ids that tiktoken itself (its npm package, special tokens allowed) gives, and files of ranks.</summary>
public sealed class TiktokenTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("cl100k", 100277)]
    [InlineData("o200k", 200019)]
    public void BundledEncodingsAreThoseOfTiktoken(string name, int size)
    {
        ITokenizer tokenizer = Tokenizers.Open(name);
        Assert.Equal(size, tokenizer.VocabularySize);
        using JsonDocument recorded = JsonDocument.Parse(File.ReadAllBytes(Goldens.Folder("tiktoken", "recorded.json")));
        foreach (JsonElement sample in recorded.RootElement.GetProperty(name).EnumerateArray())
        {
            int[] ids = [.. sample[1].EnumerateArray().Select(id => id.GetInt32())];
            Assert.Equal(ids, tokenizer.Encode(sample[0].GetString()));
            Assert.Equal(sample[0].GetString(), tokenizer.Decode(ids));
        }
    }

    /// <summary>The first ranks of o200k, as many as Llama 3 has, as tiktoken writes them.</summary>
    private string Ranks(string name, int count)
    {
        var text = new StringBuilder();
        foreach ((byte[] token, int rank) in TiktokenEncodings.BundledRanks("o200k").Take(count))
            text.Append(Convert.ToBase64String(token)).Append(' ').Append(rank).Append('\n');

        File.WriteAllText(folder[name], text.ToString());
        return folder[name];
    }

    [Fact]
    public void Llama3sFileHasTheSpecialTokensOfItsReferenceCode()
    {
        ITokenizer tokenizer = Tokenizers.Open(Ranks("tokenizer.model", 128000));
        Assert.Equal(128256, tokenizer.VocabularySize);
        Assert.Equal([128000], tokenizer.PromptPrefix);
        Assert.Equal([128006, 128007, 128009, 128255], tokenizer.Encode("<|start_header_id|><|end_header_id|><|eot_id|><|reserved_special_token_250|>"));
        Assert.Equal("don't 123\n", tokenizer.Decode(tokenizer.Encode("don't 123\n")));
        using var other = new TemporaryFolder();
        tokenizer.Save(other.Path);
        Assert.Equal([128001], Tokenizers.Open(other.Path).Encode("<|end_of_text|>"));
    }

    [Theory]
    [InlineData("a.tiktoken", "IQ== 0\nIg== 1\n", "a tiktoken vocabulary with 2 ranks")]
    [InlineData("tokenizer.model", "IQ== 0\r\nIg== 1\r\n", "a tiktoken vocabulary with 2 ranks")]
    [InlineData("a.tiktoken", "", "empty")]
    public void OtherFilesAreRefusedByName(string name, string contents, string message)
    {
        File.WriteAllText(folder[name], contents);
        string error = Assert.Throws<UserException>(() => Tokenizers.Open(folder[name])).Message;
        Assert.StartsWith(folder[name], error);
        Assert.Contains(message, error);
    }

    [Fact]
    public void LongTokensAreRefused()
    {
        string lines = $"IQ== 0\n{Convert.ToBase64String(new byte[256])} 1\n{Convert.ToBase64String(new byte[257])} 2\n";
        string error = Assert.Throws<UserException>(() => TiktokenFile.Read(Encoding.UTF8.GetBytes(lines), "a.tiktoken")).Message;
        Assert.Contains("line 3 has 257 bytes", error);
    }

    [Theory]
    [InlineData("IQ== 0\nIg==\n", "line 2")]
    [InlineData("IQ== 0\n!!!! 1\n", "line 2")]
    [InlineData("IQ== 0\nIQ== 1\n", "line 2 repeats")]
    [InlineData("IQ== 0\nIg== 0\n", "line 2 repeats")]
    [InlineData("IQ== 99999999\n", "99999999")]
    [InlineData("IQ== 0\nIg== 1\n", "2 of 256 bytes")]
    public void DamagedLinesAreNamed(string contents, string message) =>
        Assert.Contains(message, Assert.Throws<UserException>(() => TiktokenFile.Read(Encoding.UTF8.GetBytes(contents), "a.tiktoken")).Message);
}
