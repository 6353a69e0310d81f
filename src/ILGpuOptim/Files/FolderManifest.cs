using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace ILGpuOptim.Files;

/// <summary>
/// The manifest <c>ilgpuoptim-files.json</c> of the files that a command made: names, sizes and SHA-256. A folder with exactly these files
/// may be replaced by the command; a folder with changed files is not read.
/// </summary>
internal static class FolderManifest
{
    /// <summary>The name of the manifest.</summary>
    public const string FileName = "ilgpuoptim-files.json";

    /// <summary>Larger files are compared by their size alone, since reading them takes long.</summary>
    private const long MaxHashed = 1L << 30;

    private static readonly JsonSerializerOptions Options = new() { WriteIndented = true };

    /// <summary>Writes the manifest of a folder.</summary>
    public static void Write(string folder)
    {
        var files = new JsonObject(FolderFiles.Of(folder).Select(name => KeyValuePair.Create(name, (JsonNode?)new JsonObject
        {
            ["bytes"] = new FileInfo(Path.Combine(folder, name)).Length,
            ["sha256"] = Hash(Path.Combine(folder, name)),
        })));
        AtomicFolder.WriteText(Path.Combine(folder, FileName), new JsonObject { ["files"] = files }.ToJsonString(Options));
    }

    /// <summary>The reason why a folder may not be replaced; null if it holds exactly the files of its manifest.</summary>
    public static string? Obstacle(string folder)
    {
        string other = Directory.EnumerateFileSystemEntries(folder).Select(path => Path.GetFileName(path)).First();
        return File.Exists(Path.Combine(folder, FileName)) ? Difference(folder, _ => true) : $"it holds {other}, which this command did not make";
    }

    /// <summary>Throws if a folder's data and tokenizer were not made together. A folder without a manifest is accepted.</summary>
    /// <exception cref="UserException">A file is missing, was changed or was added.</exception>
    public static void Check(string folder)
    {
        static bool IsRead(string name) => Path.GetExtension(name).ToLowerInvariant() is ".bin" or ".ends" or ".json" or ".model" or ".jinja" || name is "vocab.txt" or "merges.txt";
        if (File.Exists(Path.Combine(folder, FileName)) && Difference(folder, IsRead) is { } difference)
            throw new UserException($"{folder}: {difference}, so tokens and tokenizer may not belong together; make the folder again with prepare");
    }

    /// <summary>The difference between a folder and its manifest, or null.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="counts">True for entries that must be in the manifest.</param>
    private static string? Difference(string folder, Func<string, bool> counts)
    {
        try
        {
            JsonFields root = JsonFields.Open(Path.Combine(folder, FileName)), files = root.RequiredObject("files");
            root.Finish();
            foreach (string name in files.Names)
            {
                string path = Path.Combine(folder, name);
                JsonFields entry = files.RequiredObject(name);
                if (!FolderFiles.IsInside(name) || !File.Exists(path))
                    return $"{name}, which {FileName} lists, is missing";
                if ((SourceFile.HasContents(path) ? SourceFile.Length(path) : 0) != entry.RequiredCount("bytes") || Hash(path) != entry.RequiredText("sha256"))
                    return $"{name} was changed since it was made";
            }

            return FolderFiles.Of(folder).FirstOrDefault(name => name != FileName && !files.Names.Contains(name) && counts(name)) is { } added ? $"{added} was added to what was made" : null;
        }
        catch (UserException e)
        {
            return $"{FileName} is damaged ({e.Message.TrimEnd('.')})";
        }
    }

    private static string Hash(string path)
    {
        if (!SourceFile.HasContents(path) || SourceFile.Length(path) > MaxHashed)
            return "";
        using FileStream stream = SourceFile.Open(path);
        return Convert.ToHexStringLower(SHA256.HashData(stream));
    }
}
