using System.Reflection;

namespace ILGpuOptim.Models;

/// <summary>Configurations of published models that the library holds: the files of the folder <c>models</c>.</summary>
internal static class KnownModels
{
    private const string Prefix = "models/", Suffix = ".json";

    private static readonly Assembly Library = typeof(KnownModels).Assembly;

    /// <summary>Their names, in order.</summary>
    public static IReadOnlyList<string> Names { get; } =
    [
        .. Library.GetManifestResourceNames().Where(name => name.StartsWith(Prefix, StringComparison.Ordinal))
            .Select(name => name[Prefix.Length..^Suffix.Length]).Order(StringComparer.Ordinal),
    ];

    /// <summary>The text of one's <c>config.json</c>; null when there is none of this name.</summary>
    public static string? Read(string name)
    {
        if (Names.FirstOrDefault(known => known.Equals(name, StringComparison.OrdinalIgnoreCase)) is not { } found)
            return null;
        using var reader = new StreamReader(Library.GetManifestResourceStream(Prefix + found + Suffix)!);
        return reader.ReadToEnd();
    }
}
