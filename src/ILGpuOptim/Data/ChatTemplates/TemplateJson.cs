using System.Globalization;
using System.Text;

namespace ILGpuOptim.Data.ChatTemplates;

/// <summary>JSON as Python's <c>json.dumps</c> writes it; transformers' filter <c>tojson</c> keeps characters beyond ASCII.</summary>
internal static class TemplateJson
{
    /// <summary>The filter <c>tojson</c>.</summary>
    public static object? Filter(object? value, TemplateArguments arguments)
    {
        object?[] values = arguments.Bind(0, "ensure_ascii", "indent", "separators", "sort_keys");
        object? indent = TemplateArguments.Or(values[1], null);
        string? by = indent switch { null => null, string text => text, _ => new string(' ', (int)Math.Clamp(TemplateOperators.Integer(indent, "indent"), 0, 1 << 12)) };
        (string comma, string colon) = TemplateArguments.Or(values[2], null) switch
        {
            null => (by is null ? ", " : ",", ": "),
            List<object?> { Count: 2 } pair => (TemplateOperators.String(pair[0], "separators"), TemplateOperators.String(pair[1], "separators")),
            _ => throw new TemplateValueException("separators must be a pair of strings"),
        };
        var writer = new Writer(TemplateOperators.IsTrue(TemplateArguments.Or(values[0], false)), by, comma, colon, TemplateOperators.IsTrue(TemplateArguments.Or(values[3], false)));
        writer.Write(value, 0);
        return writer.ToString();
    }

    private sealed class Writer(bool ascii, string? indent, string comma, string colon, bool sorts)
    {
        private readonly StringBuilder output = new();

        public override string ToString() => output.ToString();

        public void Write(object? value, int depth)
        {
            switch (value)
            {
                case string text:
                    WriteString(text);
                    break;
                case TemplateDictionary dictionary:
                    IEnumerable<KeyValuePair<object, object?>> pairs = sorts ? SequenceFilters.Sorted(dictionary.Keys, key => key, caseSensitive: true, descending: false)
                        .Select(key => KeyValuePair.Create(key!, TemplateMembers.Item(dictionary, key))) : dictionary;
                    WriteAll('{', '}', pairs, depth, pair =>
                    {
                        WriteString(pair.Key as string ?? Scalar(pair.Key));
                        output.Append(colon);
                        Write(pair.Value, depth + 1);
                    });
                    break;
                case List<object?> list:
                    WriteAll('[', ']', list, depth, item => Write(item, depth + 1));
                    break;
                default:
                    output.Append(Scalar(value));
                    break;
            }
        }

        private void WriteAll<T>(char open, char close, IEnumerable<T> items, int depth, Action<T> write)
        {
            output.Append(open);
            bool isEmpty = true;
            foreach (T item in items)
            {
                output.Append(isEmpty ? "" : comma);
                isEmpty = false;
                NewLine(depth + 1);
                write(item);
            }

            if (!isEmpty)
                NewLine(depth);
            output.Append(close);
        }

        private void NewLine(int depth)
        {
            if (indent is null)
                return;
            output.Append('\n');
            for (int i = 0; i < depth; i++)
                output.Append(indent);
        }

        private static string Scalar(object? value) => value switch
        {
            null => "null",
            bool flag => flag ? "true" : "false",
            double number when double.IsNaN(number) => "NaN",
            double number when double.IsInfinity(number) => number > 0 ? "Infinity" : "-Infinity",
            long or double => TemplateOperators.Text(value),
            TemplateUndefined undefined => throw undefined.Error(),
            _ => throw new TemplateValueException($"{TemplateOperators.TypeOf(value)} cannot be written as JSON"),
        };

        private void WriteString(string text)
        {
            output.Append('"');
            foreach (char c in text)
            {
                output.Append(c switch
                {
                    '"' => "\\\"",
                    '\\' => "\\\\",
                    '\n' => "\\n",
                    '\r' => "\\r",
                    '\t' => "\\t",
                    '\b' => "\\b",
                    '\f' => "\\f",
                    _ when c < 0x20 || (ascii && c > 0x7E) => string.Create(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}"),
                    _ => c.ToString(),
                });
            }

            output.Append('"');
        }
    }
}
