using System.IO.Compression;
using System.Text.Json;
using ILGpuOptim.Data;
using ILGpuOptim.TokenizerOracle;

namespace ILGpuOptim.Tests.Data.Tokenization;

/// <summary>Ids and texts that SentencePiece gives for small models of every kind, over the texts and the code points of the goldens.</summary>
public sealed class SentencePieceGoldenTests
{
    private static readonly string Folder = Goldens.Folder("tokenizers");

    private static readonly Dictionary<string, JsonElement> Recorded =
        JsonSerializer.Deserialize<Dictionary<string, JsonElement>>(File.ReadAllText(Golden.PathOf(Folder, "sentencepiece")))!;

    private static readonly string[] Hashed =
        JsonDocument.Parse(File.ReadAllText(Path.Combine(Folder, "texts.json"))).RootElement.GetProperty("hashed").Deserialize<string[]>()!;

    public static IEnumerable<TheoryDataRow<string>> Names => Recorded.Keys.Select(name => new TheoryDataRow<string>(name));

    [Theory]
    [MemberData(nameof(Names))]
    public void GivesTheIdsAndTextsOfSentencePiece(string name)
    {
        using var folder = new TemporaryFolder();
        using (var packed = new GZipStream(File.OpenRead(Path.Combine(Folder, "sentencepiece", name + ".model.gz")), CompressionMode.Decompress))
        using (FileStream file = File.Create(folder["tokenizer.model"]))
            packed.CopyTo(file);
        ITokenizer tokenizer = Tokenizers.Open(folder.Path);
        JsonElement recorded = Recorded[name];
        var expected = recorded.Deserialize<Golden>(new JsonSerializerOptions { PropertyNameCaseInsensitive = true })!;
        var source = new GoldenCase("sentencepiece", name, "", recorded.GetProperty("plain").Deserialize<string[]>()!, Hashed, recorded.GetProperty("decode").Deserialize<int[][]>()!, expected.Unicode is not null, false, false, false);
        TokenizerGoldenTests.Compare(source, expected, Golden.Of(source, text => tokenizer.Encode(text), ids => tokenizer.Decode(ids)));
    }
}
