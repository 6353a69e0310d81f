using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>Finds the mask token in a folder's tokenizer, for a <c>config.json</c> that does not name it.</summary>
internal static class MaskTokens
{
    private static readonly string[] Texts = ["[MASK]", "<mask>"];

    /// <summary>The id among the added tokens of <c>tokenizer.json</c>, or the line of <c>vocab.txt</c>; null where there is none.</summary>
    /// <param name="folder">The model's folder.</param>
    /// <param name="vocabulary">The ids that the model knows.</param>
    /// <exception cref="UserException">A file cannot be read.</exception>
    public static int? Of(string folder, int vocabulary)
    {
        int? id = OfTokenizer(Path.Combine(folder, "tokenizer.json")) ?? OfWords(Path.Combine(folder, "vocab.txt"));
        return id < vocabulary ? id : null;
    }

    private static int? OfTokenizer(string path) => !File.Exists(path) ? null
        : JsonFields.Open(path).Objects("added_tokens")?.Where(token => Texts.Contains(token.Text("content"))).Select(token => token.Int("id")).FirstOrDefault();

    private static int? OfWords(string path)
    {
        int line = File.Exists(path) ? Data.TextSource.Read(path).Split('\n').Select(word => word.Trim()).ToList().FindIndex(Texts.Contains) : -1;
        return line < 0 ? null : line;
    }
}
