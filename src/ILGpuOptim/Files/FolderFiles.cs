namespace ILGpuOptim.Files;

/// <summary>Lists the files of a folder and its subfolders.</summary>
internal static class FolderFiles
{
    /// <summary>Relative names with <c>/</c> as separator, in ordinal order. Empty folders and links to folders are listed like files; links are not followed.</summary>
    public static IEnumerable<string> Of(string folder) => Below(new DirectoryInfo(folder), "").Order(StringComparer.Ordinal);

    /// <summary>Full paths of the files of a folder and its subfolders, in the same ordinal order whatever the system's separator is.</summary>
    public static IEnumerable<string> PathsOf(string folder) =>
        Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories).OrderBy(path => path.Replace(Path.DirectorySeparatorChar, '/'), StringComparer.Ordinal);

    /// <summary>True if a relative name stays inside the folder: no empty part, no <c>.</c>, no <c>..</c>, no root.</summary>
    public static bool IsInside(string name) => name.AsSpan().IndexOfAny('\\', '\0') < 0 && name.Split('/').All(part => part is not ("" or "." or ".."));

    private static IEnumerable<string> Below(DirectoryInfo folder, string prefix)
    {
        foreach (FileSystemInfo entry in folder.EnumerateFileSystemInfos())
        {
            if (entry is not DirectoryInfo { LinkTarget: null } below)
            {
                yield return prefix + entry.Name;
                continue;
            }

            bool isEmpty = true;
            foreach (string name in Below(below, $"{prefix}{entry.Name}/"))
            {
                isEmpty = false;
                yield return name;
            }

            if (isEmpty)
                yield return prefix + entry.Name;
        }
    }
}
