using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using ILGpuOptim.Files;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Training;

/// <summary>Reads records of settings from JSON: settings that the file omits keep their values, and unknown fields are errors.</summary>
internal static class SettingsReader
{
    /// <summary>Reads an object into a copy of settings.</summary>
    /// <param name="fields">The object.</param>
    /// <param name="start">The settings to start from; they are not changed.</param>
    /// <param name="others">Names of fields that are read elsewhere.</param>
    /// <exception cref="UserException">A field is unknown, or its value is invalid.</exception>
    public static object Read(JsonFields fields, object start, params IReadOnlyList<string> others)
    {
        PropertyInfo[] properties = [.. Ranges.SettingsOf(start.GetType())];
        string[] names = [.. properties.Select(property => NameIn(fields, property))];
        string[] unknown = [.. fields.Names.Where(name => !names.Contains(name) && !others.Contains(name))];
        if (unknown.Length > 0 && start is not IOpenSettings)
            throw fields.Error(unknown[0], $"is not a setting{Nearest.Question(unknown[0], names)}");
        object settings = Copy(start);
        for (int i = 0; i < properties.Length; i++)
        {
            if (fields.Names.Contains(names[i]))
                properties[i].SetValue(settings, ValueOf(fields, properties[i], names[i], properties[i].GetValue(start), properties[i].GetCustomAttribute<RangeAttribute>()));
        }

        return unknown.Aggregate(settings, (changed, name) => WithField((IOpenSettings)changed, fields, name, names));
    }

    /// <summary>Reads a field that is no property. Null means its default.</summary>
    private static object WithField(IOpenSettings settings, JsonFields fields, string name, IEnumerable<string> others)
    {
        JsonElement? given = fields.Element(name);
        if (settings.ValidValues(name, out bool isWord) is not { } valid)
            return given is null or { ValueKind: JsonValueKind.Null } && OptimizerSettings.FormerOptions.Contains(name) ? settings : throw fields.Error(name, $"is not a setting{Nearest.Question(name, others.Concat(settings.Names))}");
        if (given is not { ValueKind: not JsonValueKind.Null } element)
            return settings.Without(name);
        bool fits = isWord ? element.ValueKind == JsonValueKind.String : element.ValueKind is JsonValueKind.Number or JsonValueKind.True or JsonValueKind.False;
        string text = element.ValueKind == JsonValueKind.String ? element.GetString()! : element.GetRawText();
        try
        {
            return fits ? settings.With(name, text) : throw fields.Error(name, $"is {JsonFields.Describe(element)}; it must be {valid}");
        }
        catch (SettingException e)
        {
            throw new UserException($"{fields.Source}: {e.MessageWith(Values.PathOf)}", e);
        }
    }

    /// <summary>The name of a setting in a file: the former name, if the file has only that.</summary>
    private static string NameIn(JsonFields fields, PropertyInfo property)
    {
        string name = Values.NameOf(property.Name);
        return property.GetCustomAttribute<FormerNameAttribute>() is { } former && fields.Names.Contains(former.Name) && !fields.Names.Contains(name) ? former.Name : name;
    }

    /// <summary>Copies a record.</summary>
    public static object Copy(object record) => record.GetType().GetMethod("<Clone>$")!.Invoke(record, null)!;

    private static object? ValueOf(JsonFields fields, PropertyInfo property, string name, object? present, RangeAttribute? range)
    {
        Type type = Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;
        if (!fields.Has(name))
            return Ranges.CanBeNull(property) ? null : throw fields.Error(name, $"is null; it must be {Describe(type, range)}");
        if (type == typeof(string))
            return fields.Text(name);
        if (type == typeof(bool))
            return fields.Flag(name);
        if (type == typeof(IReadOnlyList<string>))
            return fields.Texts(name);
        if (type.IsEnum)
            return (fields.Element(name) is { ValueKind: JsonValueKind.String } ? Values.Parse(type, fields.Text(name)!) ?? Former(type, fields.Text(name)!) : null) ?? throw Wrong(fields, name, type, range);
        if (Values.IsNumber(type))
        {
            JsonElement number = fields.Element(name)!.Value;
            return number.ValueKind == JsonValueKind.Number && Values.Parse(type, number.GetRawText()) is { } value ? value : throw Wrong(fields, name, type, range);
        }

        if (type == typeof(ModelConfig))
            return Model(fields, name, (ModelConfig?)present);
        if (type.IsGenericType)
            return ListOf(fields.Objects(name)!, type.GetGenericArguments()[0]);
        return Read(fields.Object(name)!, present ?? Activator.CreateInstance(type)!);
    }

    /// <summary>Reads a list of records whose constructor takes every field.</summary>
    [UnconditionalSuppressMessage("AOT", "IL3050", Justification = "the settings that hold such a list use arrays of its type")]
    private static Array ListOf(IReadOnlyList<JsonFields> items, Type type)
    {
        var list = Array.CreateInstance(type, items.Count);
        for (int i = 0; i < items.Count; i++)
        {
            JsonFields item = items[i];
            PropertyInfo[] properties = [.. Ranges.SettingsOf(type)];
            if (properties.FirstOrDefault(property => !item.Names.Contains(Values.NameOf(property.Name))) is { } missing)
                throw item.Error(Values.NameOf(missing.Name), "is missing");
            if (item.Names.FirstOrDefault(name => !properties.Any(property => Values.NameOf(property.Name) == name)) is { } unknown)
                throw item.Error(unknown, $"is not a setting; there are {string.Join(" and ", properties.Select(property => Values.NameOf(property.Name)))}");
            list.SetValue(Activator.CreateInstance(type, [.. properties.Select(property => ValueOf(item, property, Values.NameOf(property.Name), null, property.GetCustomAttribute<RangeAttribute>()))]), i);
        }

        return list;
    }

    /// <summary>Reads a model's configuration; omitted fields come from the current one if it is of the same type.</summary>
    private static ModelConfig Model(JsonFields fields, string name, ModelConfig? present)
    {
        JsonFields given = fields.Object(name)!;
        string source = $"{fields.Source}: {name}", text = fields.Element(name)!.Value.GetRawText();
        JsonNode? below = present is null ? null : JsonNode.Parse(present.ToJson());
        if (below is not null && given.Text("model_type") == (string?)below["model_type"])
        {
            foreach (string field in given.Names)
                below[field] = JsonNode.Parse(given.Element(field)?.GetRawText() ?? "null");
            text = below.ToJsonString();
        }

        return ModelConfig.Parse(text, source);
    }

    /// <summary>Finds the member of an enumeration that had a name in earlier versions.</summary>
    private static object? Former(Type type, string name) =>
        type.GetFields().FirstOrDefault(member => member.GetCustomAttribute<FormerNameAttribute>()?.Name == name)?.GetValue(null);

    private static UserException Wrong(JsonFields fields, string name, Type type, RangeAttribute? range) =>
        fields.Error(name, $"is {JsonFields.Describe(fields.Element(name)!.Value)}; it must be {Describe(type, range)}");

    private static string Describe(Type type, RangeAttribute? range) =>
        type.IsEnum || type == typeof(bool) || Values.IsNumber(type) ? Values.Describe(type, range) : type == typeof(string) ? "a string" : type.IsGenericType ? "an array" : "an object";
}
