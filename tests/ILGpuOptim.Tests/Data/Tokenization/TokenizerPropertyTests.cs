using System.Text.Json;
using ILGpuOptim.Data;
using ILGpuOptim.TokenizerOracle;

namespace ILGpuOptim.Tests.Data.Tokenization;

/// <summary>Random texts beside Hugging Face's own library, where it loads.</summary>
public sealed class TokenizerPropertyTests
{
    /// <summary>The folder whose tokenizer.json files, which are too large for the repository, are compared as well.</summary>
    private const string Variable = "ILGPUOPTIM_TOKENIZERS";

    private static readonly string Folder = Goldens.Folder("tokenizers");

    public static IEnumerable<TheoryDataRow<string>> Families => GoldenCase.Families(Folder).Select(family => new TheoryDataRow<string>(family));

    [Theory]
    [MemberData(nameof(Families))]
    public void AgreesOnRandomTexts(string family)
    {
        Assert.SkipWhen(ReferenceTokenizer.WhyUnavailable is not null, ReferenceTokenizer.WhyUnavailable ?? "");
        Dictionary<string, Golden> recorded = Golden.Read(Folder, family);
        GoldenCase[] cases = [.. GoldenCase.Read(Folder, family).Where(item => recorded[item.Name].Refused is null && !item.MayRefuse && !item.Crashes && !item.LosesText)];
        Assert.NotEmpty(cases);
        foreach (GoldenCase source in cases)
            Compare(source.Name, source.Json, 10);
    }

    [Fact]
    public void AgreesOnRealTokenizers()
    {
        Assert.SkipWhen(ReferenceTokenizer.WhyUnavailable is not null, ReferenceTokenizer.WhyUnavailable ?? "");
        string folder = Environment.GetEnvironmentVariable(Variable) ?? "";
        Assert.SkipUnless(Directory.Exists(folder), $"{Variable} names no folder of tokenizer.json files");
        string[] paths = Directory.GetFiles(folder, "tokenizer.json", SearchOption.AllDirectories);
        Assert.NotEmpty(paths);
        foreach (string path in paths)
            Compare(path, File.ReadAllText(path), 2000);
    }

    private static void Compare(string name, string json, int texts)
    {
        using ReferenceTokenizer? reference = ReferenceTokenizer.TryOpen(json, out string? refusal);
        Assert.True(reference is not null, $"{name}: Hugging Face's library refuses the file, so that nothing is compared: {refusal}");
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["tokenizer.json"], json);
        ITokenizer tokenizer = Tokenizers.Open(folder.Path);
        using JsonDocument document = JsonDocument.Parse(json, new JsonDocumentOptions { MaxDepth = 128 });
        string[] added = document.RootElement.TryGetProperty("added_tokens", out JsonElement tokens) && tokens.ValueKind == JsonValueKind.Array
            ? [.. tokens.EnumerateArray().Select(token => token.GetProperty("content").GetString()!)] : [];
        var random = new Random(added.Length + json.Length);
        for (int i = 0; i < texts; i++)
        {
            string text = RandomTexts.Next(random, added);
            int[]? expected = reference.Encode(text);
            if (expected is null)
            {
                Assert.Throws<UserException>(() => tokenizer.Encode(text));
                continue;
            }

            int[] ids = tokenizer.Encode(text);
            Assert.True(expected.AsSpan().SequenceEqual(ids), $"{name}: {JsonSerializer.Serialize(text)}: [{string.Join(", ", ids)}] instead of [{string.Join(", ", expected)}]");
            Assert.Equal(reference.Decode(ids), tokenizer.Decode(ids));
        }
    }
}
