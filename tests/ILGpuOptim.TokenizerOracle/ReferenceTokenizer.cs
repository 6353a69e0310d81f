using System.Text.Json;
using System.Text.Json.Nodes;
using Tokenizers.DotNet;

namespace ILGpuOptim.TokenizerOracle;

/// <summary>
/// A <c>tokenizer.json</c> in Hugging Face's own library (Rust, through the package Tokenizers.DotNet). The package always adds special
/// tokens to ids and leaves them out of text. So ids are taken from a copy of the file without post-processor, truncation and padding,
/// and text from a copy in which no token is special. The library numbers added tokens that are not in the model's vocabulary anew,
/// in the order of the file; here they keep the ids that the file gives them.
/// </summary>
public sealed class ReferenceTokenizer : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("tokenizer-oracle-").FullName;
    private readonly Tokenizer whole;
    private readonly Tokenizer encoder;
    private readonly Tokenizer decoder;
    private readonly Dictionary<int, int> declared = [];
    private readonly Dictionary<int, int> assigned = [];

    private ReferenceTokenizer(string json)
    {
        try
        {
            whole = Open(json, "whole");
            JsonObject root = JsonNode.Parse(json)!.AsObject();
            root["post_processor"] = null;
            root["truncation"] = null;
            root["padding"] = null;
            encoder = Open(root.ToJsonString(), "encoder");
            foreach (JsonNode? token in root["added_tokens"] as JsonArray ?? [])
            {
                if (token is JsonObject fields && fields.ContainsKey("special"))
                    fields["special"] = false;
            }

            decoder = Open(root.ToJsonString(), "decoder");
            Number(root);
        }
        catch
        {
            Directory.Delete(folder, recursive: true);
            throw;
        }
    }

    /// <summary>Opens the contents of a file; null and the reason where the library refuses it.</summary>
    public static ReferenceTokenizer? TryOpen(string json, out string? refusal)
    {
        refusal = null;
        try
        {
            return new ReferenceTokenizer(json);
        }
        catch (TokenizerException e)
        {
            refusal = e.Message;
            return null;
        }
    }

    /// <summary>The library's version.</summary>
    public string Version => whole.GetVersion();

    /// <summary>Why the library does not load on this machine; null when it does.</summary>
    public static string? WhyUnavailable { get; } = Probe();

    /// <summary>The ids of a text without special tokens; null where the model has no token for a part of it. The text has no half of a surrogate pair.</summary>
    public int[]? Encode(string text) => Encode(encoder, text);

    /// <summary>The ids of a text with what the post-processor adds, truncated and padded as the file says.</summary>
    public int[]? EncodeWithSpecialTokens(string text) => Encode(whole, text);

    /// <summary>The text of ids; special tokens are kept.</summary>
    public string Decode(int[] ids) => decoder.Decode([.. ids.Select(id => (uint)assigned.GetValueOrDefault(id, id))]);

    /// <inheritdoc/>
    public void Dispose()
    {
        whole.Dispose();
        encoder.Dispose();
        decoder.Dispose();
        Directory.Delete(folder, recursive: true);
    }

    private int[]? Encode(Tokenizer tokenizer, string text)
    {
        try
        {
            return [.. tokenizer.Encode(text).Select(id => declared.GetValueOrDefault((int)id, (int)id))];
        }
        catch (TokenizerException)
        {
            return null;
        }
    }

    /// <summary>Follows the numbering of the library: a new token's id is behind the vocabulary and behind the added tokens before it.</summary>
    private void Number(JsonObject root)
    {
        JsonNode model = root["model"]!;
        Dictionary<string, int> ids = model["vocab"] is JsonArray pieces
            ? pieces.Select((piece, i) => (Text: (string)piece![0]!, Id: i)).DistinctBy(piece => piece.Text).ToDictionary(piece => piece.Text, piece => piece.Id)
            : model["vocab"]!.AsObject().ToDictionary(item => item.Key, item => (int)item.Value!);
        int next = model["vocab"] is JsonArray all ? all.Count : ids.Count;
        foreach (JsonNode? token in root["added_tokens"] as JsonArray ?? [])
        {
            string content = (string)token!["content"]!;
            if (content.Length == 0)
                continue;
            if (!ids.TryGetValue(content, out int id))
                ids.Add(content, id = next);
            next = Math.Max(next, id + 1);
            if (id == (int)token["id"]!)
                continue;
            declared[id] = (int)token["id"]!;
            assigned[declared[id]] = id;
        }
    }

    private Tokenizer Open(string json, string name)
    {
        string path = Path.Combine(folder, name + ".json");
        File.WriteAllText(path, json);
        return new Tokenizer(path);
    }

    private static string? Probe()
    {
        try
        {
            using var tokenizer = new ReferenceTokenizer("""{"version":"1.0","model":{"type":"WordLevel","vocab":{"a":0},"unk_token":"a"}}""");
            return null;
        }
        catch (Exception e) when (e is DllNotFoundException or BadImageFormatException or EntryPointNotFoundException or TypeInitializationException)
        {
            return $"Hugging Face's library does not load here: {e.Message.Split('\n')[0]}";
        }
    }
}
