using System.Reflection;

namespace ILGpuOptim.Data;

/// <summary>Reads the documents of a file format that the library itself does not read.</summary>
public interface IDocumentFormat
{
    /// <summary>The extension of the files in lower case, such as <c>.parquet</c>.</summary>
    string Extension { get; }

    /// <summary>Reads the documents of a file, in order.</summary>
    /// <param name="file">The file, opened at its beginning.</param>
    /// <param name="field">The field or column that holds the text.</param>
    /// <param name="advanced">Reports the position in the file in bytes as reading advances.</param>
    /// <exception cref="UserException">The file is damaged, or has no such field.</exception>
    IEnumerable<DocumentPart> Read(FileStream file, string field, Action<long> advanced);

    /// <summary>Reads the rows of a file as JSON objects in UTF-8, in order: structures are objects, lists are arrays.</summary>
    /// <param name="file">The file, opened at its beginning.</param>
    /// <exception cref="UserException">The file is damaged, or its rows are no records; so by default.</exception>
    IEnumerable<byte[]> ReadRecords(FileStream file) => throw new UserException($"{file.Name}: {Extension} files hold documents, not records; convert the file, for example to JSON lines");
}

/// <summary>
/// File formats and vocabularies beyond those of the library. The package ILGpuOptim.Data adds Parquet and the encodings cl100k and o200k; a program that
/// refers to it need not call anything.
/// </summary>
public static class DataFormats
{
    private const string Package = "ILGpuOptim.Data";

    private static readonly Dictionary<string, IDocumentFormat> documents = new(StringComparer.OrdinalIgnoreCase);
    private static readonly Dictionary<string, Func<Stream>> encodings = new(StringComparer.Ordinal);
    private static readonly Lock gate = new();
    private static bool hasPackage;

    /// <summary>Adds a format of documents. A later one replaces an earlier one of the same extension.</summary>
    public static void Add(IDocumentFormat format)
    {
        lock (gate)
            documents[format.Extension] = format;
    }

    /// <summary>Adds the vocabulary of a tiktoken encoding.</summary>
    /// <param name="name">The name: <c>cl100k</c> or <c>o200k</c>.</param>
    /// <param name="ranks">Opens the vocabulary: a line with the number of tokens, then a token in Base64 per line, in order of rank.</param>
    public static void AddEncoding(string name, Func<Stream> ranks)
    {
        lock (gate)
            encodings[name] = ranks;
    }

    /// <summary>The extensions of the formats that were added.</summary>
    internal static IReadOnlyList<string> Extensions
    {
        get
        {
            lock (gate)
                return [.. documents.Keys];
        }
    }

    /// <summary>The format of an extension.</summary>
    /// <exception cref="UserException">The package that reads it is missing.</exception>
    internal static IDocumentFormat Documents(string extension, string path) =>
        Find(documents, extension) ?? throw new UserException($"{path}: {extension} files are read by the package {Package}, which this program lacks; {Remedy}");

    /// <summary>Opens the vocabulary of an encoding.</summary>
    /// <exception cref="UserException">The package that holds it is missing.</exception>
    internal static Stream Ranks(string name) =>
        (Find(encodings, name) ?? throw new UserException($"{name}: this vocabulary is in the package {Package}, which this program lacks; {Remedy}"))();

    private static string Remedy => $"add it with: dotnet add package {Package}";

    private static T? Find<T>(Dictionary<string, T> known, string name) where T : class
    {
        lock (gate)
        {
            if (known.TryGetValue(name, out T? found))
                return found;
            if (hasPackage)
                return null;

            // A program that refers to the package need not call it. The type's name is constant, so that trimming keeps the type.
            hasPackage = true;
            Type.GetType("ILGpuOptim.Data.DataPackage, ILGpuOptim.Data")?.GetMethod("Register", BindingFlags.Public | BindingFlags.Static)?.Invoke(null, null);
            return known.GetValueOrDefault(name);
        }
    }
}
