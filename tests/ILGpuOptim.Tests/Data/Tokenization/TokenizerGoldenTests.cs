using System.Text.Json;
using ILGpuOptim.Data;
using ILGpuOptim.TokenizerOracle;

namespace ILGpuOptim.Tests.Data.Tokenization;

/// <summary>
/// Ids and texts that Hugging Face's library gives for small <c>tokenizer.json</c> files, which together hold every component and setting.
/// The README of ILGpuOptim.TokenizerOracle tells how they are recorded.
/// </summary>
public sealed class TokenizerGoldenTests
{
    private static readonly string Folder = Goldens.Folder("tokenizers");

    private static readonly Dictionary<string, Dictionary<string, Golden>> Recorded =
        GoldenCase.Families(Folder).ToDictionary(family => family, family => Golden.Read(Folder, family));

    private static readonly Dictionary<(string, string), GoldenCase> Cases =
        GoldenCase.Families(Folder).SelectMany(family => GoldenCase.Read(Folder, family)).ToDictionary(item => (item.Family, item.Name));

    public static IEnumerable<TheoryDataRow<string, string>> Names => Cases.Keys.Select(key => new TheoryDataRow<string, string>(key.Item1, key.Item2));

    [Theory]
    [MemberData(nameof(Names))]
    public void GivesTheIdsAndTextsOfHuggingFace(string family, string name)
    {
        using var folder = new TemporaryFolder();
        GoldenCase source = Cases[(family, name)];
        Golden golden = Recorded[family][name];
        File.WriteAllText(folder["tokenizer.json"], source.Json);
        ITokenizer tokenizer;
        try
        {
            tokenizer = Tokenizers.Open(folder["tokenizer.json"]);
        }
        catch (UserException e)
        {
            Assert.True(golden.Refused is not null || source.MayRefuse, $"refused: {e.Message}");
            return;
        }

        Assert.True(golden.Refused is null || source.MayRefuse, $"accepted, and Hugging Face's library says: {golden.Refused}");
        if (golden.Refused is null)
            Compare(source, golden, Golden.Of(source, text => Encode(tokenizer, text), ids => tokenizer.Decode(ids)));
    }

    private static int[]? Encode(ITokenizer tokenizer, string text)
    {
        try
        {
            return tokenizer.Encode(text);
        }
        catch (UserException)
        {
            return null;
        }
    }

    /// <summary>Compares what was recorded with what is given here.</summary>
    internal static void Compare(GoldenCase source, Golden expected, Golden actual)
    {
        for (int i = 0; i < source.Plain.Length; i++)
        {
            if (source.LosesText && actual.Ids![i] is null)
                continue;
            string text = JsonSerializer.Serialize(source.Plain[i]);
            Assert.True(Golden.Hash(expected.Ids![i]).AsSpan().SequenceEqual(Golden.Hash(actual.Ids![i])), $"{text}: {Show(actual.Ids[i])} instead of {Show(expected.Ids[i])}");
            Assert.True(expected.Texts![i] == actual.Texts![i], $"{text}: its ids {Show(expected.Ids[i])} give {JsonSerializer.Serialize(actual.Texts[i])} instead of {JsonSerializer.Serialize(expected.Texts[i])}");
        }

        for (int i = 0; i < source.Decode.Length; i++)
            Assert.True(expected.Decoded![i] == actual.Decoded![i], $"{Show(source.Decode[i])} gives {JsonSerializer.Serialize(actual.Decoded[i])} instead of {JsonSerializer.Serialize(expected.Decoded[i])}");
        Same("ids of", expected.Hashes!, actual.Hashes!, source.LosesText, i => JsonSerializer.Serialize(source.Hashed[i]));
        Same("text of the ids of", expected.TextHashes!, actual.TextHashes!, source.LosesText, i => JsonSerializer.Serialize(source.Hashed[i]));
        int[] blocks = [.. UnicodeBlocks.Texts().Select(block => block.First)];
        Same("ids of the code points from", expected.Unicode ?? "", actual.Unicode ?? "", source.LosesText, i => $"U+{blocks[i]:X4}");
    }

    private static void Same(string what, string expected, string actual, bool mayRefuse, Func<int, string> name)
    {
        uint[] one = Hashes(expected), two = Hashes(actual);
        Assert.Equal(one.Length, two.Length);
        string[] different = [.. Enumerable.Range(0, one.Length).Where(i => one[i] != two[i] && !(mayRefuse && two[i] == 0)).Select(name)];
        Assert.True(different.Length == 0, $"{different.Length} of {one.Length} differ: {what} {string.Join(", ", different)}");
    }

    private static uint[] Hashes(string text) => [.. Convert.FromBase64String(text).Chunk(4).Select(bytes => BitConverter.ToUInt32(bytes))];

    private static string Show(int[]? ids) => ids is null ? "an error" : $"[{string.Join(", ", ids)}]";
}
