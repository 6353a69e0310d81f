namespace ILGpuOptim.Fuzz;

/// <summary>A temporary folder for the files of the current case.</summary>
internal sealed class Workspace : IDisposable
{
    private readonly string root = Directory.CreateTempSubdirectory("ilgpuoptim-fuzz-").FullName;
    private IReadOnlyDictionary<string, byte[]>? written;
    private string? changed;

    public Workspace() => File.WriteAllText(Text, string.Concat(Enumerable.Repeat("And God said, Let there be light: and there was light.\n", 20)));

    /// <summary>The folder.</summary>
    public string Folder => Path.Combine(root, "case");

    /// <summary>A text file that is never damaged.</summary>
    public string Text => Path.Combine(root, "text.txt");

    /// <summary>Writes the files of a case, optionally with one damaged file. Unchanged files of the previous case are kept.</summary>
    public void Write(IReadOnlyDictionary<string, byte[]> files, string? damaged = null, byte[]? contents = null)
    {
        if (!ReferenceEquals(files, written))
        {
            if (Directory.Exists(Folder))
                Directory.Delete(Folder, recursive: true);
            foreach ((string name, byte[] bytes) in files)
                Put(name, bytes);
        }
        else if (changed is not null)
        {
            Put(changed, files[changed]);
        }

        (written, changed) = (files, damaged);
        if (damaged is not null)
            Put(damaged, contents!);
    }

    /// <summary>Copies the case to a folder.</summary>
    public void CopyTo(string folder)
    {
        foreach (string file in Directory.EnumerateFiles(Folder, "*", SearchOption.AllDirectories))
        {
            string target = Path.Combine(folder, Path.GetRelativePath(Folder, file));
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.Copy(file, target, overwrite: true);
        }
    }

    private void Put(string name, byte[] bytes)
    {
        string path = Path.Combine(Folder, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllBytes(path, bytes);
    }

    public void Dispose() => Directory.Delete(root, recursive: true);
}
