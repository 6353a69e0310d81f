using System.Collections.Concurrent;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>
/// The fields of <c>config.json</c> that a record declares: its properties with a <see cref="JsonPropertyNameAttribute"/>, base record first. The
/// values of a new record are the defaults. Reading and writing follow from this one declaration.
/// </summary>
internal sealed class ConfigSchema
{
    private static readonly ConcurrentDictionary<Type, ConfigSchema> Known = new();

    private readonly Type type;
    private readonly Field[] fields;

    private ConfigSchema(Type type)
    {
        this.type = type;
        object defaults = New();
        var nullability = new NullabilityInfoContext();
        fields = [.. type.GetProperties(BindingFlags.Public | BindingFlags.Instance)
            .Where(property => property.GetCustomAttribute<JsonPropertyNameAttribute>(inherit: false) is not null && property.CanWrite)
            .OrderBy(property => DepthOf(property.DeclaringType!)).ThenBy(property => property.HasMetadataToken() ? property.MetadataToken : 0)
            .Select(property => new Field(property, property.GetCustomAttribute<JsonPropertyNameAttribute>(inherit: false)!.Name,
                property.GetCustomAttribute<OtherNameAttribute>(inherit: false)?.Name,
                property.IsDefined(typeof(RequiredMemberAttribute), inherit: false),
                nullability.Create(property).WriteState == NullabilityState.Nullable,
                property.GetValue(defaults), property.GetCustomAttribute<AbsentValueAttribute>(inherit: false)?.Value))];
    }

    /// <summary>The fields of a record with a constructor without parameters.</summary>
    public static ConfigSchema Of(Type type) => Known.GetOrAdd(type, static type => new ConfigSchema(type));

    /// <summary>The names of all fields.</summary>
    public IEnumerable<string> Names => fields.Select(item => item.Name);

    /// <summary>The value of a field that is absent.</summary>
    public object? DefaultOf(string name) => fields.First(item => item.Name == name).Default;

    /// <summary>
    /// A record with the values of a file. Absent fields have their default; so have those that are null, unless the property can be null. Fields
    /// that the record does not declare stay unread.
    /// </summary>
    /// <exception cref="UserException">A required field is missing, or a value is of another type.</exception>
    public object Read(JsonFields source)
    {
        object result = New();
        foreach (Field field in fields)
        {
            (object? value, string name) = Find(source, field);
            if (value is null && field.IsRequired)
                throw source.Error(name, "is missing");
            if (value is not null || (field.IsNullable && source.Names.Contains(name)))
                field.Property.SetValue(result, value);
            else if (field.Absent is not null)
                field.Property.SetValue(result, field.Absent);
        }

        return result;
    }

    /// <summary>The fields of a record as the file has them; null is left out where it is the default.</summary>
    public JsonObject Write(object record)
    {
        var result = new JsonObject();
        foreach (Field field in fields)
        {
            object? value = field.Property.GetValue(record);
            if (value is not null)
                result[field.Name] = Node(value);
            else if (field.Default is not null)
                result[field.Name] = null;
        }

        return result;
    }

    private static JsonNode Node(object value) => value switch
    {
        int number => number,
        float number => number,
        double number => number,
        bool flag => flag,
        string text => text,
        IEnumerable<string> texts => JsonNodes.Of(texts),
        IEnumerable<int> numbers => new JsonArray([.. numbers.Select(number => (JsonNode)number)]),
        IEnumerable<double> numbers => new JsonArray([.. numbers.Select(number => (JsonNode)number)]),
        _ => Of(value.GetType()).Write(value),
    };

    private static (object? Value, string Name) Find(JsonFields source, Field field)
    {
        object? value = Value(source, field.Name, field.Property.PropertyType);
        if (field.OtherName is null)
            return (value, field.Name);
        object? other = Value(source, field.OtherName, field.Property.PropertyType);
        if (value is not null && other is not null && !value.Equals(other))
            throw source.Error(field.OtherName, $"is {other}, but {field.Name} is {value}; remove one of the two");
        return value is null && other is not null ? (other, field.OtherName) : (value, field.Name);
    }

    private static object? Value(JsonFields source, string name, Type type)
    {
        type = Nullable.GetUnderlyingType(type) ?? type;
        if (IsRecord(type))
        {
            if (source.Object(name) is not { } inner)
                return null;
            object record = Of(type).Read(inner);
            inner.Finish();
            return record;
        }

        return type == typeof(int) ? source.Int(name)
            : type == typeof(float) ? source.Float(name)
            : type == typeof(double) ? source.Number(name)
            : type == typeof(bool) ? source.Flag(name)
            : type == typeof(string) ? source.Text(name)
            : type == typeof(IReadOnlyList<string>) ? source.Texts(name)
            : type == typeof(IReadOnlyList<int>) ? source.Ints(name)
            : type == typeof(IReadOnlyList<double>) ? source.Numbers(name)
            : throw new NotSupportedException($"{name}: fields of configurations cannot be of the type {type.Name}; they are int, float, double, bool, string, lists of int, double and string, or records");
    }

    private static bool IsRecord(Type type) => type.IsClass && type != typeof(string) && !type.IsGenericType && !type.IsArray && type.GetConstructor(Type.EmptyTypes) is not null;

    private static int DepthOf(Type type) => type.BaseType is { } parent ? 1 + DepthOf(parent) : 0;

    private object New() => Activator.CreateInstance(type) ?? throw new NotSupportedException($"{type.Name} needs a constructor without parameters");

    /// <param name="Property">The property.</param>
    /// <param name="Name">The field.</param>
    /// <param name="OtherName">Another name of the field; or null.</param>
    /// <param name="IsRequired">True if a file must have it.</param>
    /// <param name="IsNullable">True if null is a value of its own.</param>
    /// <param name="Default">The value of a new record.</param>
    /// <param name="Absent">The value where a file has no such field; null: the default.</param>
    private sealed record Field(PropertyInfo Property, string Name, string? OtherName, bool IsRequired, bool IsNullable, object? Default, object? Absent);
}

/// <summary>Another name that files have for a field of a configuration.</summary>
/// <param name="name">The name.</param>
[AttributeUsage(AttributeTargets.Property)]
public sealed class OtherNameAttribute(string name) : Attribute
{
    /// <summary>The name.</summary>
    public string Name { get; } = name;
}

/// <summary>The value of a field that a file lacks, if it differs from the default of configurations made in code.</summary>
/// <param name="value">The value.</param>
[AttributeUsage(AttributeTargets.Property)]
public sealed class AbsentValueAttribute(object value) : Attribute
{
    /// <summary>The value.</summary>
    public object Value { get; } = value;
}
