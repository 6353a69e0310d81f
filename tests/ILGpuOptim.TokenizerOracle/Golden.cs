using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace ILGpuOptim.TokenizerOracle;

/// <summary>What a tokenizer made of a <see cref="GoldenCase"/>. Hashes are four bytes a text, joined and written in base 64.</summary>
public sealed class Golden
{
    /// <summary>The message, where the file is refused; nothing else is recorded then.</summary>
    public string? Refused { get; set; }

    /// <summary>The ids of the plain texts; null where a text cannot be encoded.</summary>
    public int[]?[]? Ids { get; set; }

    /// <summary>The text of those ids.</summary>
    public string?[]? Texts { get; set; }

    /// <summary>The hashes of the ids of the other texts.</summary>
    public string? Hashes { get; set; }

    /// <summary>The hashes of the text of those ids.</summary>
    public string? TextHashes { get; set; }

    /// <summary>The hashes of the ids of every block of code points.</summary>
    public string? Unicode { get; set; }

    /// <summary>The texts of the ids to be decoded.</summary>
    public string[]? Decoded { get; set; }

    /// <summary>The ids of the first plain text with special tokens.</summary>
    public int[]? Special { get; set; }

    private static readonly JsonSerializerOptions Options = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    /// <summary>The path of the results recorded for a file of cases.</summary>
    public static string PathOf(string folder, string family) => Path.Combine(folder, "recorded", family + ".json");

    /// <summary>Reads recorded results by the names of their cases.</summary>
    public static Dictionary<string, Golden> Read(string folder, string family) =>
        JsonSerializer.Deserialize<Dictionary<string, Golden>>(File.ReadAllText(PathOf(folder, family)), Options)!;

    /// <summary>Writes results, one case a line.</summary>
    public static void Write(string folder, string family, Dictionary<string, Golden> results)
    {
        Directory.CreateDirectory(Path.Combine(folder, "recorded"));
        IEnumerable<string> lines = results.Select(item => $"{JsonSerializer.Serialize(item.Key)}:{JsonSerializer.Serialize(item.Value, Options)}");
        File.WriteAllText(PathOf(folder, family), "{\n" + string.Join(",\n", lines) + "\n}\n");
    }

    /// <summary>Records a case.</summary>
    /// <param name="source">The case.</param>
    /// <param name="encode">Gives the ids of a text, or null where it cannot be encoded.</param>
    /// <param name="decode">Gives the text of ids.</param>
    public static Golden Of(GoldenCase source, Func<string, int[]?> encode, Func<int[], string> decode)
    {
        int[]?[] ids = [.. source.Plain.Select(encode)];
        int[]?[] others = [.. source.Hashed.Select(encode)];
        return new Golden
        {
            Ids = ids,
            Texts = [.. ids.Select(value => value is null ? null : decode(value))],
            Hashes = Convert.ToBase64String([.. others.SelectMany(Hash)]),
            TextHashes = Convert.ToBase64String([.. others.SelectMany(value => Hash(value is null ? null : decode(value)))]),
            Unicode = source.Unicode ? Convert.ToBase64String([.. UnicodeBlocks.Texts().SelectMany(block => Hash(encode(block.Text)))]) : null,
            Decoded = [.. source.Decode.Select(decode)],
        };
    }

    /// <summary>Four bytes that stand for ids; zeros where there are none.</summary>
    public static byte[] Hash(int[]? ids)
    {
        if (ids is null)
            return new byte[4];
        var bytes = new byte[ids.Length * 4];
        for (int i = 0; i < ids.Length; i++)
            BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(i * 4), ids[i]);
        return SHA256.HashData(bytes)[..4];
    }

    /// <summary>Four bytes that stand for a text; zeros where there is none.</summary>
    public static byte[] Hash(string? text) => text is null ? new byte[4] : SHA256.HashData(Encoding.UTF8.GetBytes(text))[..4];
}
