using System.Security.Cryptography;
using System.Text;
using ILGpuOptim.Data;

namespace ILGpuOptim.Tests.Data;

public class DefaultCorpusTests
{
    [Fact]
    public void IsTheTextThatTheScriptMakes()
    {
        byte[] bytes = Encoding.UTF8.GetBytes(DefaultCorpus.Text);
        Assert.Equal(4_139_038, bytes.Length);
        Assert.Equal("82a24e4e23c644fe579ed387b20e54eb529cc0a87a25e0810064edb2216780c2", Convert.ToHexStringLower(SHA256.HashData(bytes)));
        Assert.StartsWith("In the beginning God created the heaven and the earth.\n", DefaultCorpus.Text);
        Assert.Equal(31_102 + 1_188, DefaultCorpus.Text.Count(character => character == '\n'));
        Assert.Equal(63, CharTokenizer.From(DefaultCorpus.Text).VocabularySize);
        Assert.Same(DefaultCorpus.Text, DefaultCorpus.Text);
    }
}
