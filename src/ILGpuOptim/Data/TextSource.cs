using System.Text;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data;

/// <summary>Reads training text from files and folders.</summary>
public static class TextSource
{
    /// <summary>About the maximum length of a string.</summary>
    private const int MaxCharacters = 1_000_000_000;

    private static readonly string[] Extensions = [".txt", ".md", ".text"];

    /// <summary>The text of files and folders (all .txt, .md and .text files in them, in order of their names), separated by line ends.</summary>
    /// <exception cref="UserException">A path is missing, empty or unreadable, or the text is invalid or too long.</exception>
    public static string Read(params IReadOnlyList<string> paths) => Read(paths, out _);

    /// <summary>The same; also returns the end of each file.</summary>
    /// <param name="paths">Files and folders.</param>
    /// <param name="ends">The characters up to the end of each file; a line end that joins two files belongs to the first.</param>
    /// <exception cref="UserException">As for the other overload.</exception>
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
            if (part.Length > MaxCharacters - text.Length)
                throw new UserException($"{file}: with this file, the text has more than {MaxCharacters:N0} characters; convert it to .bin token files with prepare, which need not fit into memory");
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
            return RecordFiles.Select(path, Extensions, file => Path.GetExtension(file).ToLowerInvariant());
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unreadable(path, e);
        }
    }

    private static UserException Unreadable(string path, Exception e) =>
        new($"{path}: it cannot be read: {e.Message}; check the path and the read permission", e);

    private static string ReadFile(string path)
    {
        RecordFiles.Refuse(path);
        if (path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase))
            throw new UserException($"{path}: the file is packed; unpack it, or turn it into token files with prepare");
        byte[] bytes = SourceFile.ReadAllBytes(path, 4L * MaxCharacters, "convert it to .bin token files with prepare, which need not fit into memory");
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
