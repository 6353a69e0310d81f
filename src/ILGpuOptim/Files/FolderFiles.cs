namespace ILGpuOptim.Files;

/// <summary>Names of a folder's files, those of its subfolders included, as lists of files hold them.</summary>
internal static class FolderFiles
{
    /// <summary>Relative names with <c>/</c> between folders, in their order. Empty folders and links to folders are listed like files and never entered.</summary>
    public static IEnumerable<string> Of(string folder) => Below(new DirectoryInfo(folder), "").Order(StringComparer.Ordinal);

    /// <summary>Whether a name from a file stays inside the folder: no empty part, no <c>.</c>, no <c>..</c>, no root.</summary>
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
