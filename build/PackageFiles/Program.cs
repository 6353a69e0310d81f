using ILGpuOptim.PackageFiles;

switch (args)
{
    case ["documentation", var assembly, var file]:
        PublicDocumentation.Filter(assembly, file);
        return 0;
    case ["readme", var source, var target, var root, .. var links]:
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(target))!);
        File.WriteAllText(target, Readme.WithAbsoluteLinks(File.ReadAllText(source), Path.GetRelativePath(root, Path.GetDirectoryName(Path.GetFullPath(source))!), links is [var url, var revision] ? (url, revision) : null));
        return 0;
    default:
        Console.Error.WriteLine("usage: PackageFiles documentation ASSEMBLY FILE.xml | readme SOURCE TARGET ROOT [URL REVISION]");
        return 2;
}
