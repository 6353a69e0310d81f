using System.Collections;
using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using ILGpuOptim.Models;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Training;

/// <summary>
/// Writes records of settings as JSON, in the form that <see cref="SettingsReader"/> reads. Works in trimmed and ahead-of-time compiled programs, in which
/// the general serializer does not.
/// </summary>
internal static class SettingsWriter
{
    /// <summary>Options with which the text is indented.</summary>
    public static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    /// <summary>The properties of a record as fields, in the order of their declaration. A property marked as extension data holds further fields.</summary>
    public static JsonObject Write(object record)
    {
        var result = new JsonObject();
        foreach (PropertyInfo property in record.GetType().GetProperties(BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance))
        {
            bool isWritten = property.GetMethod is { IsPublic: true } && !property.IsDefined(typeof(JsonIgnoreAttribute)) && property.GetIndexParameters().Length == 0;
            if (property.IsDefined(typeof(JsonExtensionDataAttribute)))
            {
                foreach ((string name, JsonNode? value) in (IEnumerable<KeyValuePair<string, JsonNode?>>)property.GetValue(record)!)
                    result[name] = value;
            }
            else if (isWritten)
            {
                result[Values.NameOf(property.Name)] = Node(property.GetValue(record));
            }
        }

        return result;
    }

    private static JsonNode? Node(object? value) => value switch
    {
        null => null,
        bool flag => flag,
        int number => number,
        long number => number,
        ulong number => number,
        float number => number,
        double number => number,
        string text => text,
        Enum member => Values.NameOf(member.ToString()),
        ModelConfig config => config.ToJsonObject(),
        IEnumerable items => new JsonArray([.. items.Cast<object?>().Select(Node)]),
        _ => Write(value),
    };
}
