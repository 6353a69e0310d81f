using System.Text.Json;

namespace ILGpuOptim.Generation;

/// <summary>The tokens after which a model has nothing to say, as Hugging Face's folders name them.</summary>
public static class EndOfText
{
    /// <summary>
    /// <c>eos_token_id</c>, a number or a list, of <c>generation_config.json</c> or else of <c>config.json</c>; empty when neither has one.
    /// </summary>
    /// <exception cref="UserException">A file is damaged.</exception>
    public static IReadOnlyList<int> Of(string folder) => Read(folder, "eos_token_id");

    /// <summary>The tokens before a text's first, <c>bos_token_id</c> of the same files; empty when neither has one.</summary>
    /// <exception cref="UserException">A file is damaged.</exception>
    public static IReadOnlyList<int> BeginningOf(string folder) => Read(folder, "bos_token_id");

    private static int[] Read(string folder, string field)
    {
        foreach (string name in (string[])["generation_config.json", Models.ModelFiles.Config])
        {
            string path = Path.Combine(folder, name);
            if (!File.Exists(path))
                continue;
            try
            {
                using JsonDocument json = JsonDocument.Parse(File.ReadAllText(path), new JsonDocumentOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true });
                if (!json.RootElement.TryGetProperty(field, out JsonElement value) || value.ValueKind == JsonValueKind.Null)
                    continue;
                return value.ValueKind == JsonValueKind.Array ? [.. value.EnumerateArray().Select(id => id.GetInt32())] : [value.GetInt32()];
            }
            catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException or IOException or UnauthorizedAccessException)
            {
                throw new UserException($"{path}: {field} is no token id: {e.Message}", e);
            }
        }

        return [];
    }
}
