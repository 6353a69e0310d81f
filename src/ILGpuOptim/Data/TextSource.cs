using System.Text;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data;

/// <summary>Reads training text from what a user names.</summary>
public static class TextSource
{
    /// <summary>A string holds about as many.</summary>
    private const int MostCharacters = 1_000_000_000;

    private static readonly string[] Extensions = [".txt", ".md", ".text"];

    /// <summary>The text of files and folders (all .txt, .md and .text files below, in order of their names), joined by line ends.</summary>
    /// <exception cref="UserException">Something is missing, empty, unreadable, no text, or too much.</exception>
    public static string Read(params IReadOnlyList<string> paths) => Read(paths, out _);

    /// <summary>As the other, and says where each file ends.</summary>
    /// <param name="paths">Files and folders.</param>
    /// <param name="ends">The characters up to the end of each file; a line end that joins two files belongs to the first.</param>
    /// <exception cref="UserException">As for the other.</exception>
    public static string Read(IReadOnlyList<string> paths, out IReadOnlyList<int> ends)
    {
        var text = new StringBuilder();
        var lengths = new List<int>();
        foreach (string file in paths.SelectMany(Files))
        {
            if (text.Length > 0 && text[^1] != '\n')
            {
                text.Append('\n');
                lengths[^1]++;
            }

            string part = ReadFile(file);
            if (part.Length > MostCharacters - text.Length)
                throw new UserException($"{file}: with it the text has more than {MostCharacters:N0} characters; make .bin token files of it, which need not fit the memory");
            text.Append(part);
            lengths.Add(text.Length);
        }

        ends = lengths;
        return text.ToString();
    }

    private static IEnumerable<string> Files(string path)
    {
        if (!Directory.Exists(path))
            return [path];
        try
        {
            string[] files = [.. Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories)
                .Where(file => Extensions.Contains(Path.GetExtension(file).ToLowerInvariant()))
                .Order(StringComparer.Ordinal)];
            return files.Length > 0 ? files : throw new UserException($"{path}: the folder has no .txt, .md or .text file; name the files themselves");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unreadable(path, e);
        }
    }

    private static UserException Unreadable(string path, Exception e) =>
        new($"{path}: it cannot be read: {e.Message}; check the path and the right to read it", e);

    private static string ReadFile(string path)
    {
        byte[] bytes = SourceFile.ReadAllBytes(path, 4L * MostCharacters, "make .bin token files of it with prepare, which need not fit the memory");
        Encoding encoding = TextEncoding.Of(bytes);
        int mark = encoding.Preamble.Length;
        try
        {
            string text = encoding.GetString(bytes.AsSpan(mark));
            return text.Contains('\0') ? throw TextEncoding.HasNulls(path) : text;
        }
        catch (DecoderFallbackException e)
        {
            throw TextEncoding.Undecodable(path, $"byte {e.Index + mark}", encoding, e);
        }
    }
}
