using System.Text.RegularExpressions;

namespace ILGpuOptim.PackageFiles;

/// <summary>Makes the relative links of a README absolute, since a package's page is not in the repository.</summary>
internal static partial class Readme
{
    /// <summary>The text with absolute links. Without a repository, relative links become plain text, and relative pictures are left out.</summary>
    /// <param name="text">Markdown.</param>
    /// <param name="folder">The folder of the README in the repository.</param>
    /// <param name="repository">The repository's address, and the revision to link to.</param>
    public static string WithAbsoluteLinks(string text, string folder, (string Url, string Revision)? repository) => Fence().Replace(text, match =>
        match.Groups["fence"].Success ? match.Value : EmptyLines().Replace(Link().Replace(match.Value, link => Absolute(link, folder, repository)), "\n\n"));

    private static string Absolute(Match link, string folder, (string Url, string Revision)? repository)
    {
        (bool isPicture, string label, string target) = (link.Groups[1].Length > 0, link.Groups[2].Value, link.Groups[3].Value);
        if (target.StartsWith('#') || target.Contains("://", StringComparison.Ordinal))
            return link.Value;
        if (repository is not var (url, revision))
            return isPicture ? "" : label;
        string path = Path.GetRelativePath(".", Path.Combine(folder, target)).Replace('\\', '/');
        return $"{link.Groups[1].Value}[{label}]({url}/{(isPicture ? "raw" : "blob")}/{revision}/{path})";
    }

    /// <summary>A block of code, or a stretch without one.</summary>
    [GeneratedRegex(@"(?<fence>^```.*?^```)|(?:(?!^```).)+", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Fence();

    [GeneratedRegex(@"\n{3,}")]
    private static partial Regex EmptyLines();

    [GeneratedRegex(@"(!?)\[([^\]]*)\]\(([^)\s]+)\)")]
    private static partial Regex Link();
}
