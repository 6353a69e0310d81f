using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace ILGpuOptim.Files;

/// <summary>
/// A JSON object whose fields must all be known. Each field is read by a method of this class or declared ignored; <see cref="Finish"/>
/// refuses any other field by name, so no field is ignored silently.
/// </summary>
public sealed class JsonFields
{
    /// <summary>The size limit of JSON files: 1 GiB.</summary>
    internal const long MaxFileBytes = 1L << 30;

    private static readonly JsonDocumentOptions Options = new() { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true, MaxDepth = 64 };

    private readonly Dictionary<string, JsonElement> fields = [];
    private readonly HashSet<string> read = [];

    /// <summary>Reads the fields of an object.</summary>
    /// <param name="element">A JSON object.</param>
    /// <param name="source">The file, for messages.</param>
    /// <param name="path">The path of the object in the file, such as <c>model</c> or <c>added_tokens[3]</c>; empty for the root.</param>
    /// <exception cref="UserException">It is not an object, or a field appears twice.</exception>
    public JsonFields(JsonElement element, string source, string path = "")
    {
        (Source, Path) = (source, path);
        if (element.ValueKind != JsonValueKind.Object)
            throw new UserException($"{source}: {(path.Length == 0 ? "the file" : path)} is {Describe(element)}; it must be an object");
        foreach (JsonProperty field in element.EnumerateObject())
        {
            string name = NameOf(field);
            if (!fields.TryAdd(name, field.Value))
                throw Error(name, "appears twice; remove one of the two");
        }
    }

    /// <summary>The file, for messages.</summary>
    public string Source { get; }

    /// <summary>The path of the object in the file; empty for the root.</summary>
    public string Path { get; }

    /// <summary>The names of all fields, in the order of the file.</summary>
    public IEnumerable<string> Names => fields.Keys;

    /// <summary>The fields that have not been read or declared ignored so far, with their values, including nulls.</summary>
    internal IReadOnlyDictionary<string, JsonElement> Unread => fields.Where(item => !read.Contains(item.Key)).ToDictionary();

    /// <summary>Reads the root object of a file. A byte order mark, UTF-16, comments and trailing commas are accepted.</summary>
    /// <param name="path">The file.</param>
    /// <param name="maxBytes">The size limit in bytes.</param>
    /// <exception cref="UserException">The file cannot be read, is too large, or is not a JSON object.</exception>
    internal static JsonFields Open(string path, long maxBytes = MaxFileBytes) =>
        Parse(SourceFile.ReadAllBytes(path, maxBytes, "it is not such a JSON file"), path);

    /// <summary>Reads a root object from UTF-8 text, with or without a byte order mark, or from UTF-16 text.</summary>
    /// <param name="text">The text.</param>
    /// <param name="source">The file, for messages.</param>
    /// <exception cref="UserException">The text is not a JSON object.</exception>
    internal static JsonFields Parse(ReadOnlyMemory<byte> text, string source)
    {
        if (text.Span.IndexOfAnyExcept(" \t\r\n"u8) < 0)
            throw new UserException($"{source}: the file is empty; download it again");
        GitLfs.Check(source, text.Span);
        ReadOnlyMemory<byte> utf8 = ToUtf8(text, source);
        try
        {
            using JsonDocument document = JsonDocument.Parse(utf8, Options);
            return new JsonFields(document.RootElement.Clone(), source);
        }
        catch (JsonException e)
        {
            // The message ends with the position, counted from zero.
            string problem = e.Message.Split(" LineNumber:")[0].TrimEnd('.');
            throw new UserException($"{source}: not valid JSON at line {e.LineNumber + 1}, byte {e.BytePositionInLine + 1}: {problem}", e);
        }
    }

    /// <summary>True if the object has the field with a value other than null. Does not mark the field as read.</summary>
    public bool Has(string name) => fields.TryGetValue(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null;

    /// <summary>The raw value of a field, which is marked as read; null if it is missing or null.</summary>
    public JsonElement? Element(string name)
    {
        read.Add(name);
        return Has(name) ? fields[name] : null;
    }

    /// <summary>A string field; null if it is missing or null.</summary>
    public string? Text(string name) => Typed(name, JsonValueKind.String, "a string") is { } value ? Unescape(name, value) : null;

    /// <summary>A string inside a field.</summary>
    /// <param name="place">The position, such as <c>merges[3]</c>.</param>
    /// <param name="value">The value.</param>
    public string Text(string place, JsonElement value) =>
        value.ValueKind == JsonValueKind.String ? Unescape(place, value) : throw Error(place, $"is {Describe(value)}; it must be a string");

    /// <summary>A required string field.</summary>
    public string RequiredText(string name) => Text(name) ?? throw Missing(name);

    /// <summary>A Boolean field; null if it is missing or null.</summary>
    public bool? Flag(string name) => Element(name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.True } => true,
        { ValueKind: JsonValueKind.False } => false,
        { } other => throw Error(name, $"is {Describe(other)}; it must be true or false"),
    };

    /// <summary>A 32-bit integer field; null if it is missing or null.</summary>
    public int? Int(string name)
    {
        if (Typed(name, JsonValueKind.Number, "an integer") is not { } value)
            return null;
        if (value.TryGetInt32(out int integer))
            return integer;
        throw Error(name, $"is {Describe(value)}; it must be a 32-bit integer");
    }

    /// <summary>A required field with a non-negative 64-bit integer.</summary>
    public long RequiredCount(string name)
    {
        JsonElement value = Typed(name, JsonValueKind.Number, "an integer") ?? throw Missing(name);
        return value.TryGetInt64(out long count) && count >= 0 ? count : throw Error(name, $"is {Describe(value)}; it must be an integer from 0 to {long.MaxValue}");
    }

    /// <summary>A required 32-bit integer field.</summary>
    public int RequiredInt(string name) => Int(name) ?? throw Missing(name);

    /// <summary>A field with a finite number; null if it is missing or null.</summary>
    public double? Number(string name)
    {
        if (Typed(name, JsonValueKind.Number, "a number") is not { } value)
            return null;
        if (value.TryGetDouble(out double number) && double.IsFinite(number))
            return number;
        throw Error(name, $"is {Describe(value)}; it must be a finite number");
    }

    /// <summary>A field with a number in the range of 32-bit floating point; null if it is missing or null.</summary>
    public float? Float(string name)
    {
        if (Number(name) is not { } number)
            return null;
        float value = (float)number;
        return float.IsFinite(value) && (value != 0 || number == 0) ? value
            : throw Error(name, $"is {Describe(fields[name])}; the number is outside the range of 32-bit floating point");
    }

    /// <summary>An object field; null if it is missing or null.</summary>
    public JsonFields? Object(string name) => Element(name) is { } value ? new JsonFields(value, Source, PathOf(name)) : null;

    /// <summary>A required object field.</summary>
    public JsonFields RequiredObject(string name) => Object(name) ?? throw Missing(name);

    /// <summary>The elements of an array field; null if it is missing or null.</summary>
    public IReadOnlyList<JsonElement>? Array(string name) => Typed(name, JsonValueKind.Array, "an array") is { } value ? [.. value.EnumerateArray()] : null;

    /// <summary>The objects of an array field; null if it is missing or null.</summary>
    public IReadOnlyList<JsonFields>? Objects(string name) => Array(name)?.Select((item, i) => new JsonFields(item, Source, $"{PathOf(name)}[{i}]")).ToList();

    /// <summary>The strings of an array field; null if it is missing or null.</summary>
    public IReadOnlyList<string>? Texts(string name) => Array(name)?.Select((item, i) => Text($"{name}[{i}]", item)).ToList();

    /// <summary>The integers of an array field; null if it is missing or null.</summary>
    public IReadOnlyList<int>? Ints(string name) => Array(name)?.Select((item, i) => item.ValueKind == JsonValueKind.Number && item.TryGetInt32(out int value)
        ? value : throw Error($"{name}[{i}]", $"is {Describe(item)}; it must be a 32-bit integer")).ToList();

    /// <summary>The finite numbers of an array field; null if it is missing or null.</summary>
    public IReadOnlyList<double>? Numbers(string name) => Array(name)?.Select((item, i) => item.ValueKind == JsonValueKind.Number && item.TryGetDouble(out double value) && double.IsFinite(value)
        ? value : throw Error($"{name}[{i}]", $"is {Describe(item)}; it must be a finite number")).ToList();

    /// <summary>True if a field was read or declared ignored so far.</summary>
    internal bool IsRead(string name) => read.Contains(name);

    /// <summary>Declares fields that have no effect here, whatever their values.</summary>
    public void Ignore(params IEnumerable<string> names) => read.UnionWith(names);

    /// <summary>Refuses a field unless it is missing, null, or has a supported value.</summary>
    /// <param name="name">The field.</param>
    /// <param name="supported">Returns true for supported values.</param>
    /// <param name="meaning">The end of the message: the reason, and what to do instead.</param>
    public void Only(string name, Func<JsonElement, bool> supported, string meaning)
    {
        if (Element(name) is { } value && !Holds(value))
            throw Error(name, $"is {Describe(value)}: {meaning}");

        // Comparing a string with an unpaired surrogate throws; it is not a supported value.
        bool Holds(JsonElement value)
        {
            try
            {
                return supported(value);
            }
            catch (InvalidOperationException)
            {
                return false;
            }
        }
    }

    /// <summary>Refuses the fields that were not read. Fields that are null are ignored.</summary>
    /// <exception cref="UserException">There are such fields.</exception>
    internal void Finish()
    {
        foreach ((string name, JsonElement value) in fields)
        {
            if (!read.Contains(name) && value.ValueKind != JsonValueKind.Null)
                throw Error(name, $"is {Describe(value)}: the field is not known, so the file might be misread; remove it if it does not matter");
        }
    }

    /// <summary>An error about a field: the file, the path and the problem.</summary>
    public UserException Error(string name, string problem) => new($"{Source}: {PathOf(name)} {problem}");

    /// <summary>A value for a message: its JSON text on one line, truncated after 60 characters.</summary>
    public static string Describe(JsonElement value)
    {
        string text = value.GetRawText().ReplaceLineEndings(" ");
        return text.Length <= 60 ? text : text[..60] + "…";
    }

    private string PathOf(string name) => Path.Length == 0 ? name : $"{Path}.{name}";

    private UserException Missing(string name) => Error(name, "is missing");

    private JsonElement? Typed(string name, JsonValueKind kind, string expected) => Element(name) is not { } value ? null
        : value.ValueKind == kind ? value : throw Error(name, $"is {Describe(value)}; it must be {expected}");

    private string NameOf(JsonProperty field)
    {
        try
        {
            return field.Name;
        }
        catch (InvalidOperationException e)
        {
            throw new UserException($"{Source}: {(Path.Length == 0 ? "the file" : Path)} has a field whose name contains half a surrogate pair; it must be valid text", e);
        }
    }

    /// <summary>Converts to UTF-8. UTF-16 is recognized by its byte order mark, or by a zero byte among the first two bytes.</summary>
    private static ReadOnlyMemory<byte> ToUtf8(ReadOnlyMemory<byte> text, string source)
    {
        ReadOnlySpan<byte> bytes = text.Span;
        bool isLittle = bytes is [0xFF, 0xFE, ..] or [not 0, 0, ..], isBig = bytes is [0xFE, 0xFF, ..] or [0, not 0, ..];
        if (isLittle || isBig)
        {
            try
            {
                string decoded = new UnicodeEncoding(isBig, byteOrderMark: true, throwOnInvalidBytes: true).GetString(bytes);
                return Encoding.UTF8.GetBytes(decoded.TrimStart('\uFEFF'));
            }
            catch (DecoderFallbackException e)
            {
                throw new UserException($"{source}: damaged UTF-16 text; write the file as UTF-8", e);
            }
        }

        if (!Utf8.IsValid(bytes))
            throw new UserException($"{source}: not UTF-8 text; write the file as UTF-8");
        return bytes.StartsWith(Encoding.UTF8.Preamble) ? text[Encoding.UTF8.Preamble.Length..] : text;
    }

    /// <summary>The value of a string; JSON may contain unpaired surrogates, which are invalid.</summary>
    private string Unescape(string name, JsonElement value)
    {
        try
        {
            return value.GetString()!;
        }
        catch (InvalidOperationException e)
        {
            throw new UserException($"{Source}: {PathOf(name)} is {Describe(value)}, which contains half a surrogate pair; it must be valid text", e);
        }
    }
}
