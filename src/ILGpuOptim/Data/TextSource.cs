using System.Text;

namespace ILGpuOptim.Data;

/// <summary>Reads training text from what a user names.</summary>
public static class TextSource
{
    /// <summary>A string holds about as many.</summary>
    private const int MostCharacters = 1_000_000_000;

    private static readonly string[] Extensions = [".txt", ".md", ".text"];

    /// <summary>The text of files and folders (all .txt, .md and .text files below, in order of their names), joined by line ends.</summary>
    /// <exception cref="UserException">Something is missing, empty, unreadable, no text, or too much.</exception>
    public static string Read(params IReadOnlyList<string> paths)
    {
        var text = new StringBuilder();
        foreach (string file in paths.SelectMany(Files))
        {
            if (text.Length > 0 && text[^1] != '\n')
                text.Append('\n');
            string part = ReadFile(file);
            if (part.Length > MostCharacters - text.Length)
                throw new UserException($"{file}: with it the text has more than {MostCharacters:N0} characters; make .bin token files of it, which need not fit the memory");
            text.Append(part);
        }

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
        byte[] bytes;
        try
        {
            bytes = File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new UserException($"{path}: there is no such file; check the name given to --data", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw Unreadable(path, e);
        }

        if (bytes.Length == 0)
            throw new UserException($"{path}: the file is empty; training needs text");
        if (bytes.AsSpan().Contains((byte)0))
            throw new UserException($"{path}: the file holds zero bytes, so it is no text; token files end in .bin");
        int mark = bytes.AsSpan().StartsWith(Encoding.UTF8.Preamble) ? 3 : 0;
        try
        {
            return new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(bytes.AsSpan(mark));
        }
        catch (DecoderFallbackException e)
        {
            throw new UserException($"{path}: byte {e.Index + mark} is not UTF-8; convert the file, for example with iconv", e);
        }
    }
}
