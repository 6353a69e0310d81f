using System.CommandLine;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;

namespace ILGpuOptim.Cli;

/// <summary>Where results come from: the command, the version, the processor; and settings as a reader wants them.</summary>
internal static class Provenance
{
    /// <summary>The version with the commit that it was built from.</summary>
    public static string Version => typeof(Provenance).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "unknown";

    /// <summary>The processor's name, where the system tells it.</summary>
    public static string Processor
    {
        get
        {
            string? name = null;
            try
            {
                name = OperatingSystem.IsLinux() ? File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal))?.Split(':', 2)[1].Trim()
                    : Environment.GetEnvironmentVariable("PROCESSOR_IDENTIFIER");
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Without /proc, the architecture is known all the same.
            }

            return $"{name ?? $"{RuntimeInformation.ProcessArchitecture}"}, {Environment.ProcessorCount} logical processors";
        }
    }

    /// <summary>The command line, with quotes where a shell needs them.</summary>
    public static string Command(ParseResult result) => string.Join(' ', result.Tokens.Select(token => Quoted(token.Value)).Prepend("ilgpuoptim"));

    private static string Quoted(string text) =>
        text.Length > 0 && text.All(c => char.IsAsciiLetterOrDigit(c) || "-_=.,:/+@%".Contains(c, StringComparison.Ordinal)) ? text : $"'{text.Replace("'", "'\\''", StringComparison.Ordinal)}'";

    /// <summary>Settings without those that are not set: nulls and empty lists.</summary>
    public static string WithoutNulls(string json)
    {
        JsonNode root = JsonNode.Parse(json)!;
        Prune(root);
        return root.ToJsonString(new System.Text.Json.JsonSerializerOptions { WriteIndented = true });
    }

    private static void Prune(JsonNode? node)
    {
        if (node is JsonArray list)
        {
            foreach (JsonNode? item in list)
                Prune(item);
        }
        else if (node is JsonObject fields)
        {
            foreach ((string name, JsonNode? value) in fields.ToArray())
            {
                Prune(value);
                if (value is null or JsonArray { Count: 0 })
                    fields.Remove(name);
            }
        }
    }
}
